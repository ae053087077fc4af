"""The picture and the page: whole, small enough, escaped, and asking nothing of the network."""

from __future__ import annotations

import json
import re
import struct
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from cryptai_pipelines.backtest import simulate
from cryptai_pipelines.backtest.bootstrap import result_intervals, trade_outcomes
from cryptai_pipelines.backtest.metrics import FULL_METRICS, full_metrics
from cryptai_pipelines.backtest.parameters import EngineParameters
from cryptai_pipelines.backtest.picture import equity_png
from cryptai_pipelines.backtest.report import Report, write_report
from cryptai_pipelines.backtest.report_charts import figures
from cryptai_pipelines.backtest.report_format import shown
from cryptai_pipelines.backtest.report_page import render
from cryptai_pipelines.backtest.return_metrics import period_returns
from cryptai_pipelines.backtest.review import ReviewInputs, review
from cryptai_pipelines.backtest.tables import monthly_returns, worst_drawdowns
from cryptai_pipelines.backtest.thinning import drawdowns, last_of_buckets, lowest_of_buckets
from cryptai_pipelines.backtest.verdict import judge

from .conftest import random_market


def report_of(seed: int = 3, n: int = 4_000, **changes: object) -> Report:
    bars, entries = random_market(seed, n)
    result = simulate(bars, entries, take_profit=0.05, stop_loss=0.03)
    content = {
        "title": "BTC-USDT 1h trend_rsi_macd",
        "prices": bars["close"],
        "equity": result.equity,
        "trades": result.trades,
        "metrics": result.metrics,
        "optimistic": result.optimistic,
        "parameters": EngineParameters(take_profit=0.05, stop_loss=0.03),
        "quality": {"gaps": 28, "quarantined": 43},
        "provenance": {"trades_sha256": result.trades_sha256},
    }
    return Report(**content | changes)


class Page(HTMLParser):
    """Start tags with their attributes, scripts, and the text that is read."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.text = ""
        self._inside: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self._inside.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self._inside and self._inside[-1] == tag:
            self._inside.pop()

    def handle_data(self, data: str) -> None:
        if not self._inside:
            self.text += data
        elif self._inside[-1] == "script":
            self.scripts.append(data)


def test_page_loads_nothing():
    page = Page(render(report_of()))
    for tag, attributes in page.tags:
        assert not {"src", "href", "srcset", "data", "action", "poster"} & set(attributes), (tag, attributes)
        assert tag not in {"link", "iframe", "object", "embed", "base", "img"}
    policy = next(a["content"] for t, a in page.tags if t == "meta" and a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy and "http" not in policy and "*" not in policy
    styles = re.findall(r"<style>(.*?)</style>", render(report_of(n=50)), re.S)
    assert all("url(" not in style and "@import" not in style for style in styles)


def test_page_says_what_a_reader_must_know():
    report = report_of()
    text = Page(render(report)).text
    for wanted in ("pessimistic", "optimistic", "Sharpe", "Maximum drawdown", "Slippage", "quarantined", "trades_sha256"):
        assert wanted in text
    assert report.provenance["trades_sha256"] in text
    assert f"{report.metrics['total_return']:.2%}" in text and f"{report.optimistic['total_return']:.2%}" in text
    assert "imulated" not in text and "Simulated market" in Page(render(report_of(simulated=True))).text


def full_report(seed: int = 3, n: int = 6_000) -> Report:
    """A report with everything that it may hold, of days."""
    bars, entries = random_market(seed, n)
    result = simulate(bars, entries, take_profit=0.05, stop_loss=0.03)
    equity = result.equity.groupby(result.equity.index.floor("D")).last()
    market = bars["close"].groupby(bars.index.floor("D")).last()
    returns, pnl = period_returns(equity.to_numpy(), 10_000.0), result.trades["pnl"].to_numpy()
    trades = result.trades.assign(symbol=np.where(np.arange(len(pnl)) % 2, "BTC-USDT", "<b>"))
    return report_of(
        seed,
        n,
        equity=equity,
        trades=trades,
        metrics=result.metrics | {"periods_per_year": 365.0},
        benchmark=market,
        full=full_metrics(equity, result.trades, market, 10_000.0, 365.0),
        verdict=judge(returns, len(pnl), market=period_returns(market.to_numpy(), market.iloc[0]), repeats=200),
        intervals=result_intervals(returns, pnl, 365.0, repeats=200),
        outcomes=trade_outcomes(pnl, 10_000.0, repeats=200),
        findings=review(ReviewInputs(equity, trades, 10_000.0, 365.0, market)),
        refused={"wrong_side": 1_234, "short": 0},
    )


def test_page_with_everything_shows_it():
    report = full_report()
    page = Page(render(report))
    assert f"Verdict: {report.verdict.answer}" in page.text
    for finding in report.findings:
        assert finding.sentence in page.text and finding.code in page.text
    held = sum(finding.holds for finding in report.findings)
    assert 0 < held == sum(a.get("class") in ("finding warn", "finding error") for _, a in page.tags)
    for name in FULL_METRICS:
        assert shown(name, report.full[name]) in page.text, name
    tables = ("Worst drawdowns", "While the market fell most", "Months by kind", "Trades by exit", "Trades by symbol")
    for title in ("Intervals", *tables):
        assert title in page.text
    assert "Refused entries" in page.text and "1,234" in page.text and "wrong side" in page.text.lower()
    assert all(tag != "b" for tag, _ in page.tags) and "Sharpe ratio of the last 90 points" in page.text
    assert f"{report.intervals['max_drawdown'].low:.2%}" in page.text
    assert "resampled: final equity" in page.text and "shuffled: final equity" not in page.text
    assert "symbolsideentry (UTC)" in page.text
    assert "sideentry (UTC)" in Page(render(replace(report, trades=report.trades.drop(columns="symbol")))).text


def test_page_without_the_new_content_has_none_of_its_sections():
    text = Page(render(report_of(n=100))).text
    assert not any(
        word in text for word in ("Verdict", "Review", "Intervals", "All metrics", "While the market fell", "Refused")
    )


def test_shaded_drawdowns_are_the_deepest():
    report = full_report()
    shapes = figures(report)["drawdown"]["layout"]["shapes"]
    worst = worst_drawdowns(report.equity, 10_000.0)
    assert [shape["x0"] for shape in shapes] == [f"{peak:%Y-%m-%dT%H:%M:%SZ}" for peak in worst["peak"]]


@pytest.mark.parametrize("place", ["title", "quality", "provenance"])
def test_page_escapes_what_comes_from_outside(place):
    attack = "</script><img src=x onerror=alert(1)>"
    page = Page(render(report_of(n=200, **{place: attack if place == "title" else {attack: attack}})))
    assert all(tag != "img" for tag, _ in page.tags)
    assert attack in page.text


def test_figures_are_valid_and_complete():
    import plotly.graph_objects as go

    report = report_of()
    drawn = figures(report)
    for figure in drawn.values():
        go.Figure(figure)
    json.dumps(drawn, allow_nan=False)
    _, entries, won, lost = drawn["price"]["data"]
    assert len(entries["x"]) == len(won["x"]) + len(lost["x"]) == len(report.trades)
    assert drawn["equity"]["data"][0]["y"][-1] == pytest.approx(report.metrics["final_equity"], abs=1e-6)
    assert min(drawn["drawdown"]["data"][0]["y"]) == pytest.approx(100 * report.metrics["max_drawdown"], abs=1e-6)


def test_page_of_nothing():
    assert "No trades." in Page(render(report_of(n=0))).text


def test_months_multiply_to_the_year_and_years_to_the_total():
    equity = equity_curve(20_000)
    table = monthly_returns(equity, 10_000.0)
    assert table.index.tolist() == [2018, 2019, 2020] and table.notna().to_numpy().sum() == 28 + 3
    np.testing.assert_allclose((1 + table[list(range(1, 13))]).prod(axis=1), 1 + table["year"])
    assert (1 + table["year"]).prod() - 1 == pytest.approx(equity.iloc[-1] / 10_000 - 1)


def test_writing_is_all_or_nothing(tmp_path, monkeypatch):
    path = tmp_path / "reports" / "BTC.html"
    write_report(report_of(n=100), path)
    first = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_report(report_of(n=200), path)
    assert path.read_bytes() == first and [p.name for p in path.parent.iterdir()] == ["BTC.html"]


def equity_curve(n: int) -> pd.Series:
    index = pd.date_range("2018-01-01", periods=n, freq="h", tz="UTC", unit="ms")
    return pd.Series(10_000 * np.exp(np.cumsum(np.random.default_rng(1).normal(0, 0.01, n))), index=index)


@pytest.mark.parametrize("n", [0, 1, 2, 70_000])
def test_picture_is_a_small_png(n):
    png = equity_png(equity_curve(n), 10_000.0, "BTC-USDT 1h $x^2$ <&>")
    assert png.startswith(b"\x89PNG\r\n\x1a\n") and len(png) < 100_000
    assert struct.unpack(">II", png[16:24]) == (900, 450)
    assert png == equity_png(equity_curve(n), 10_000.0, "BTC-USDT 1h $x^2$ <&>")


def test_picture_of_a_simulated_market_is_marked():
    assert equity_png(equity_curve(50), 10_000.0, "x", simulated=True) != equity_png(equity_curve(50), 10_000.0, "x")


@pytest.mark.parametrize("n", [1, 7, 100, 1001])
def test_thinning_keeps_the_end_and_the_lowest(n):
    curve = equity_curve(n)
    thin, low = last_of_buckets(curve, 100), lowest_of_buckets(drawdowns(curve, 10_000.0), 100)
    assert len(thin) == len(low) == min(n, 100)
    assert thin.iloc[-1] == curve.iloc[-1] and thin.index[-1] == low.index[-1] == curve.index[-1]
    assert low.min() == drawdowns(curve, 10_000.0).min()
