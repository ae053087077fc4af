"""The metrics of docs/metrics.md once more, in plain Python loops over lists, term by term as the page has them. Slow, and
written without a look at the code that it is held against."""

from __future__ import annotations

import math
from datetime import datetime
from statistics import NormalDist, fmean, median, stdev
from typing import Any

NAN = math.nan
Trade = dict[str, Any]


def metrics_by_the_book(
    times: list[datetime],
    equity: list[float],
    trades: list[Trade],
    benchmark: list[float],
    capital: float,
    periods: float,
    held: list[tuple[float, float]],
) -> dict[str, float]:
    """Every name of the page for one backtest; trades are dicts with the columns of a trades frame."""
    returns = [now / before - 1 for before, now in zip([capital, *equity[:-1]], equity, strict=True)]
    days = (times[-1] - times[0]).total_seconds() / 86_400
    told = returns_by_the_book(returns, periods, days)
    told |= calendar_by_the_book(times, equity, capital)
    told |= drawdowns_by_the_book(times, equity, capital, told["cagr"], told["volatility"])
    told |= benchmark_by_the_book(equity, benchmark, periods, days)
    told |= luck_by_the_book(returns, days)
    told |= trades_by_the_book(trades, capital, days)
    told |= exposure_by_the_book(times, equity, trades, held, days)
    return told | {
        "start_ms": times[0].timestamp() * 1000,
        "end_ms": times[-1].timestamp() * 1000,
        "duration_days": days,
        "periods": len(equity),
        "initial_capital": capital,
        "final_equity": equity[-1],
        "peak_equity": max([capital, *equity]),
        "lowest_equity": min([capital, *equity]),
        "total_return": equity[-1] / capital - 1,
        "excess_return": equity[-1] / capital - benchmark[-1] / benchmark[0],
        "periods_per_year": periods,
    }


def returns_by_the_book(returns: list[float], periods: float, days: float) -> dict[str, float]:
    n, mean, root = len(returns), fmean(returns), math.sqrt(periods)
    downside = math.sqrt(math.fsum(min(r, 0.0) ** 2 for r in returns) / n)
    ranked = sorted(returns)
    gains, losses = math.fsum(r for r in returns if r > 0), math.fsum(-r for r in returns if r < 0)
    second, third, fourth = (math.fsum((r - mean) ** power for r in returns) / n for power in (2, 3, 4))
    rho = pearson(returns[:-1], returns[1:])
    penalty = math.sqrt(1 + 2 * math.fsum((1 - k / n) * abs(rho) ** k for k in range(1, n)))
    yearly = {
        "cagr": math.prod(1 + r for r in returns) ** (periods / n) - 1,
        "annualised_mean_return": mean * periods,
        "volatility": stdev(returns) * root,
        "downside_volatility": downside * root,
        "sharpe": mean / stdev(returns) * root,
        "sortino": mean / downside * root,
        "smart_sharpe": mean / stdev(returns) * root / penalty,
        "smart_sortino": mean / downside * root / penalty,
    }
    return (yearly if n >= 30 and days >= 14 else dict.fromkeys(yearly, NAN)) | {
        "omega": gains / losses,
        "tail_ratio": abs(quantile(ranked, 0.95)) / abs(quantile(ranked, 0.05)),
        "var_95": quantile(ranked, 0.05),
        "var_99": quantile(ranked, 0.01),
        "cvar_95": fmean(ranked[: int((n - 1) * 0.05) + 1]),
        "cvar_99": fmean(ranked[: int((n - 1) * 0.01) + 1]),
        "skewness": third / second**1.5,
        "kurtosis": fourth / second**2,
        "autocorrelation": rho,
        "best_period": ranked[-1],
        "worst_period": ranked[0],
    }


def calendar_by_the_book(times: list[datetime], equity: list[float], capital: float) -> dict[str, float]:
    told = {}
    for name, parts in (("day", ("year", "month", "day")), ("month", ("year", "month"))):
        last: dict[tuple[int, ...], float] = {}
        for time, value in zip(times, equity, strict=True):
            last[tuple(getattr(time, part) for part in parts)] = value
        values = list(last.values())
        made = [now / before - 1 for before, now in zip([capital, *values[:-1]], values, strict=True)]
        told |= {f"best_{name}": max(made), f"worst_{name}": min(made)}
        told[f"winning_{name}s_share"] = sum(r > 0 for r in made) / len(made)
    return told


def drawdowns_by_the_book(
    times: list[datetime], equity: list[float], capital: float, cagr: float, volatility: float
) -> dict[str, float]:
    peak, peak_time, below = capital, times[0], False
    depths: list[float] = []
    amount = 0.0
    found: list[dict[str, Any]] = []
    for time, value in zip(times, equity, strict=True):
        if value >= peak:
            if below:
                found[-1]["end"] = time
            peak, peak_time, below = value, time, False
        else:
            if not below:
                found.append({"peak": peak_time, "depth": 0.0, "trough": time, "end": None})
            below = True
            if value / peak - 1 < found[-1]["depth"]:
                found[-1] |= {"depth": value / peak - 1, "trough": time}
        depths.append(value / peak - 1)
        amount = min(amount, value - peak)
    lengths = [((one["end"] or times[-1]) - one["peak"]).total_seconds() / 86_400 for one in found]
    deepest = min(found, key=lambda one: one["depth"]) if found else None
    recovered = deepest is not None and deepest["end"] is not None
    ulcer = math.sqrt(fmean(d * d for d in depths))
    tail = fmean(sorted(depths)[: int((len(depths) - 1) * 0.05) + 1])
    return {
        "max_drawdown": min(0.0, *depths),
        "max_drawdown_amount": amount,
        "average_drawdown": fmean(one["depth"] for one in found) if found else 0.0,
        "current_drawdown": depths[-1],
        "drawdown_count": len(found),
        "max_drawdown_days": max(lengths, default=0.0),
        "average_drawdown_days": fmean(lengths) if found else 0.0,
        "recovery_days": (deepest["end"] - deepest["trough"]).total_seconds() / 86_400 if recovered else NAN,
        "current_underwater_days": lengths[-1] if below else 0.0,
        "underwater_share": sum(d < 0 for d in depths) / len(depths),
        "ulcer_index": ulcer,
        "conditional_drawdown_95": tail,
        "recovery_factor": (equity[-1] - capital) / abs(amount) if found else NAN,
        "calmar": cagr / abs(min(depths)) if found else NAN,
        "martin_ratio": cagr / ulcer if found else NAN,
        "serenity": cagr / (ulcer * abs(tail) / volatility) if found else NAN,
    }


def benchmark_by_the_book(equity: list[float], benchmark: list[float], periods: float, days: float) -> dict[str, float]:
    returns, market = ([now / before - 1 for before, now in zip(v[:-1], v[1:], strict=True)] for v in (equity, benchmark))
    mean, other, n = fmean(returns), fmean(market), len(returns)
    beta = math.fsum((r - mean) * (m - other) for r, m in zip(returns, market, strict=True)) / math.fsum(
        (m - other) ** 2 for m in market
    )
    active = [r - m for r, m in zip(returns, market, strict=True)]

    def growth(rows: list[float]) -> float:
        return math.prod(1 + r for r in rows) ** (periods / len(rows)) - 1

    def capture(wanted: list[bool]) -> float:
        if not any(wanted):
            return NAN
        ours, theirs = ([r for r, take in zip(rows, wanted, strict=True) if take] for rows in (returns, market))
        return growth(ours) / growth(theirs)

    yearly = {
        "benchmark_sharpe": other / stdev(market) * math.sqrt(periods),
        "alpha": (1 + fmean(r - beta * m for r, m in zip(returns, market, strict=True))) ** periods - 1,
        "beta": beta,
        "correlation": pearson(returns, market),
        "tracking_error": stdev(active) * math.sqrt(periods),
        "information_ratio": fmean(active) / stdev(active) * math.sqrt(periods),
        "treynor": mean * periods / beta,
        "capture": capture([True] * n),
        "up_capture": capture([m > 0 for m in market]),
        "down_capture": capture([m < 0 for m in market]),
    }
    known = yearly if n >= 30 and days >= 14 else dict.fromkeys(yearly, NAN)
    return known | {"benchmark_return": benchmark[-1] / benchmark[0] - 1}


def luck_by_the_book(returns: list[float], days: float) -> dict[str, float]:
    n, ratio = len(returns), fmean(returns) / stdev(returns)
    shape = returns_by_the_book(returns, 365.0, days)
    spread = math.sqrt(1 - shape["skewness"] * ratio + (shape["kurtosis"] - 1) / 4 * ratio**2)
    told = {
        "psr": NormalDist().cdf(ratio * math.sqrt(n - 1) / spread),
        "min_track_record": 1 + (spread * NormalDist().inv_cdf(0.95) / ratio) ** 2 if ratio > 0 else math.inf,
    }
    told = told if n >= 30 and days >= 14 else dict.fromkeys(told, NAN)
    return told | {"dsr": told["psr"], "t_statistic": ratio * math.sqrt(n)}


def trades_by_the_book(trades: list[Trade], capital: float, days: float) -> dict[str, float]:
    trades = sorted(trades, key=lambda t: (t["exit_ts"], t["entry_ts"]))
    pnl = [t["pnl"] for t in trades]
    wins, losses = [t for t in trades if t["pnl"] > 0], [t for t in trades if t["pnl"] < 0]
    share = [t["return_pct"] for t in trades]
    gain, loss = math.fsum(t["pnl"] for t in wins), math.fsum(t["pnl"] for t in losses)
    per_year = len(trades) / (days / 365) if days >= 14 else NAN
    win, lose = mean_of([t["pnl"] for t in wins]), mean_of([t["pnl"] for t in losses])
    win_rate = len(wins) / len(trades) if trades else NAN
    told = {
        "trade_count": len(trades),
        "trades_per_year": per_year,
        "win_rate": win_rate,
        "gross_profit": gain,
        "gross_loss": loss,
        "average_win": win,
        "average_loss": lose,
        "average_win_pct": mean_of([t["return_pct"] for t in wins]),
        "average_loss_pct": mean_of([t["return_pct"] for t in losses]),
        "median_trade_pct": median(share) if share else NAN,
        "largest_win": max((t["pnl"] for t in wins), default=NAN),
        "largest_loss": min((t["pnl"] for t in losses), default=NAN),
        "best_trade": max(share, default=NAN),
        "worst_trade": min(share, default=NAN),
        "payoff": win / abs(lose),
        "profit_factor": gain / abs(loss) if losses else (math.inf if wins else NAN),
        "expectancy": mean_of(pnl),
        "expectancy_pct": mean_of(share),
        "expectancy_ratio": mean_of(pnl) / abs(lose),
        "sqn": math.sqrt(len(pnl)) * fmean(pnl) / stdev(pnl) if len(pnl) > 1 else NAN,
        "kelly": win_rate - (1 - win_rate) / (win / abs(lose)),
        "trade_sharpe": fmean(share) / stdev(share) * math.sqrt(per_year) if len(share) >= 30 else NAN,
        "win_streak": streak(trades, 1),
        "loss_streak": streak(trades, -1),
        "fees_paid": math.fsum(t["fees"] for t in trades),
        "funding": math.fsum(t["funding"] for t in trades),
        "slippage_cost": math.fsum(t["slippage_cost"] for t in trades),
    }
    for name, sign in (("long", 1), ("short", -1)):
        part = [t["pnl"] for t in trades if t["side"] == sign]
        told |= {
            f"{name}_count": len(part),
            f"{name}_share": len(part) / len(trades) if trades else NAN,
            f"{name}_profit": math.fsum(part),
            f"{name}_return": math.fsum(part) / capital,
            f"{name}_win_rate": sum(p > 0 for p in part) / len(part) if part else NAN,
        }
    for name, part in (("trade", trades), ("win", wins), ("loss", losses)):
        hours = [(t["exit_ts"] - t["entry_ts"]).total_seconds() / 3_600 for t in part]
        told |= {f"average_{name}_hours": mean_of(hours), f"median_{name}_hours": median(hours) if hours else NAN}
        if name == "trade":
            told["longest_trade_hours"] = max(hours, default=NAN)
    for name in ("ambiguous", "tainted"):
        count = sum(bool(t[name]) for t in trades)
        told |= {f"{name}_count": count, f"{name}_share": count / len(trades) if trades else NAN}
    return told | excursions_by_the_book(trades, capital) | {"capacity": capacity_by_the_book(trades, capital)}


def excursions_by_the_book(trades: list[Trade], capital: float) -> dict[str, float]:
    against, favour = [t["max_adverse"] for t in trades], [t["max_favourable"] for t in trades]
    back, deepest, realised, peak = [], 0.0 if trades else NAN, capital, capital
    for t in trades:
        back.append(t["side"] * (t["exit_price"] / t["entry_price"] - 1) - t["max_favourable"])
        notional = t["quantity"] * t["entry_price"]
        peak = max(peak, realised + t["max_favourable"] * notional)
        deepest = min(deepest, (realised + t["max_adverse"] * notional) / peak - 1)
        realised += t["pnl"]
    return {
        "average_mae": mean_of(against),
        "worst_mae": min(against, default=NAN),
        "average_mfe": mean_of(favour),
        "best_mfe": max(favour, default=NAN),
        "average_end_trade_drawdown": mean_of(back),
        "max_end_trade_drawdown": min(back, default=NAN),
        "max_intratrade_drawdown": deepest,
    }


def capacity_by_the_book(trades: list[Trade], capital: float) -> float:
    if not trades:
        return NAN
    taken = []
    for t in trades:
        before = capital + math.fsum(o["pnl"] for o in trades if o["exit_ts"] < t["entry_ts"])
        taken.append(t["quantity"] * t["entry_price"] / before / t["entry_volume"])
    taken.sort()
    return 0.01 / taken[math.ceil(0.95 * (len(taken) - 1))]


def exposure_by_the_book(
    times: list[datetime], equity: list[float], trades: list[Trade], held: list[tuple[float, float]], days: float
) -> dict[str, float]:
    inside = 0
    for at, time in enumerate(times):
        after = times[at + 1] if at + 1 < len(times) else datetime.max.replace(tzinfo=time.tzinfo)
        inside += any(t["entry_ts"] < after and t["exit_ts"] >= time for t in trades)
    notional = math.fsum(t["quantity"] * (t["entry_price"] + t["exit_price"]) for t in trades)
    return {
        "exposure": inside / len(times),
        "traded_notional": notional,
        "turnover": notional / fmean(equity) / (days / 365) if days >= 14 else NAN,
        "average_gross_exposure": fmean(gross for gross, _ in held),
        "max_gross_exposure": max(gross for gross, _ in held),
        "average_net_exposure": fmean(net for _, net in held),
        "leveraged_share": sum(gross > 1 for gross, _ in held) / len(held),
    }


def quantile(ranked: list[float], share: float) -> float:
    rank = share * (len(ranked) - 1)
    low = math.floor(rank)
    return ranked[low] + (ranked[min(low + 1, len(ranked) - 1)] - ranked[low]) * (rank - low)


def pearson(one: list[float], other: list[float]) -> float:
    first, second = fmean(one), fmean(other)
    both = math.fsum((a - first) * (b - second) for a, b in zip(one, other, strict=True))
    return both / math.sqrt(math.fsum((a - first) ** 2 for a in one) * math.fsum((b - second) ** 2 for b in other))


def mean_of(values: list[float]) -> float:
    return fmean(values) if values else NAN


def streak(trades: list[Trade], sign: int) -> int:
    longest = run = 0
    for t in trades:
        run = run + 1 if t["pnl"] * sign > 0 else 0
        longest = max(longest, run)
    return longest
