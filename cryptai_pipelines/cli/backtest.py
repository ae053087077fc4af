"""`cryptai backtest`: a strategy on stored bars with parameters of one's own; each distinct set of them is a logged trial."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cryptai_pipelines.cli.options import EndOption, JsonOption, StartOption

if TYPE_CHECKING:
    from cryptai_pipelines.market.series import Series
    from cryptai_pipelines.orchestration.chain.backtest_results import Trial
    from cryptai_pipelines.settings import Settings


def backtest(
    symbol: Annotated[str, typer.Argument(metavar="SYMBOL", help="Such as BTC-USDT.")],
    timeframe: Annotated[str, typer.Option("--timeframe", "-t", metavar="CODE", help="1m 5m 15m 30m 1h 4h 1d 1w.")] = "1h",
    strategy: Annotated[
        str | None, typer.Option(metavar="NAME", help="A strategy's name, or FILE.py or FILE.py:NAME; else the scheduled one.")
    ] = None,
    as_of: Annotated[str | None, typer.Option(metavar="TIME", help="On bars as known then (ISO 8601, UTC).")] = None,
    start: StartOption = None,
    end: EndOption = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A parameter of the strategy or the engine; as often as wanted."),
    ] = None,
    capital: Annotated[float | None, typer.Option(help="Start capital in the quote currency.")] = None,
    take_profit: Annotated[float | None, typer.Option(help="Target as a share of the entry price, such as 0.15.")] = None,
    stop_loss: Annotated[float | None, typer.Option(help="Stop as a share of the entry price, such as 0.08.")] = None,
    min_risk_reward: Annotated[float | None, typer.Option(help="Least reward to risk after costs.")] = None,
    fee_rate: Annotated[float | None, typer.Option(help="Fee per side as a share of the notional.")] = None,
    slippage_bps: Annotated[float | None, typer.Option(help="Slippage per side in basis points.")] = None,
    funding: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Funding rates: CSV with header ts,rate; longs pay a rate above 0.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Simulate a strategy on the stored bars of a series, print the metrics and write the report."""
    from cryptai_pipelines.backtest.funding_rates import read_funding
    from cryptai_pipelines.cli.output import print_json, say
    from cryptai_pipelines.cli.results import print_backtest
    from cryptai_pipelines.cli.selection import chosen_moment, chosen_parameters, chosen_window
    from cryptai_pipelines.market.series import Series, parse_symbol
    from cryptai_pipelines.market.timeframe import parse_timeframe
    from cryptai_pipelines.orchestration.chain.trial_parameters import chosen_trial
    from cryptai_pipelines.settings import load_settings

    options = {
        "initial_capital": capital,
        "take_profit": take_profit,
        "stop_loss": stop_loss,
        "min_risk_reward": min_risk_reward,
        "fee_rate": fee_rate,
        "slippage_bps": slippage_bps,
    }
    series, settings = Series(parse_symbol(symbol), parse_timeframe(timeframe)), load_settings()
    asked = chosen_parameters(set_ or (), {name: value for name, value in options.items() if value is not None})
    # What can be refused is refused before anything is started.
    rates = None if funding is None else read_funding(funding)
    window, moment = chosen_window(start, end), chosen_moment(as_of)
    trial = chosen_trial(settings, strategy or settings.strategy, asked, window, moment, rates)
    result = _simulated(series, trial, settings)
    if json:
        print_json(result)
        return
    print_backtest(result)
    say(f"report: {result['report']}")


def _simulated(series: Series, trial: Trial, settings: Settings) -> dict[str, Any]:
    from cryptai_pipelines.cli.progress import shown_progress
    from cryptai_pipelines.cli.selection import run_name
    from cryptai_pipelines.orchestration.store import open_store
    from cryptai_pipelines.orchestration.trial import run_trial

    with open_store(settings) as store, shown_progress() as on_progress:
        return run_trial(store.database, settings, series, trial, run_name("backtest"), on_progress)
