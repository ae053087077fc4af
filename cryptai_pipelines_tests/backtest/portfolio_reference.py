"""The engine of docs/backtest.md once more, written for reading: dicts, lists and one event after the other, with many symbols
and every option. It shares no code with the first, and is what the first is compared with."""

from __future__ import annotations

import math

INF = math.inf


def simulate_portfolio_slowly(bars, decisions, settings, rules, funding, finer, both_means="stop"):
    """Trades as dicts, equity per time of the common clock before the end, refused entries by reason.

    bars, decisions, finer: frames by symbol. settings: a dict with every engine parameter. rules: dicts of tick, lot and
    min_notional by symbol. funding: a dict of rates by time, by symbol.
    """
    account = Account(settings["initial_capital"])
    markets = [
        Market(symbol, bars[symbol], decisions[symbol], rules[symbol], funding.get(symbol, {}), finer.get(symbol))
        for symbol in bars
    ]
    trader = Trader(account, markets, settings, both_means)
    equity = []
    for now in sorted({ts for market in markets for ts in market.rows}):
        trader.step(now)
        equity.append(trader.worth())
    for market in markets:
        if market.position:
            market.bar = market.last
            trader.sell(market, market.position["amount"], market.last["close"], "end", False)
    return account.trades, equity, account.refused


class Account:
    def __init__(self, money):
        self.money = money
        self.trades = []
        self.refused = {}

    def refuse(self, why):
        self.refused[why] = self.refused.get(why, 0) + 1


class Market:
    def __init__(self, symbol, bars, decisions, rules, funding, finer):
        self.symbol, self.rules = symbol, rules
        self.rows = {}
        for row, decision in zip(bars.reset_index().to_dict("records"), decisions.to_dict("records"), strict=True):
            self.rows[row["ts"]] = row | {"decision": decision}
        self.due = sorted(funding.items())
        self.finer = [] if finer is None else finer.reset_index().to_dict("records")
        steps = sorted(b - a for a, b in zip(bars.index[:-1], bars.index[1:], strict=True))
        self.length = max(sorted(set(steps)), key=steps.count) if steps else None
        if len(self.finer) > 1:
            apart = [b["ts"] - a["ts"] for a, b in zip(self.finer[:-1], self.finer[1:], strict=True)]
            self.step = max(sorted(set(apart)), key=apart.count)
        self.position = None
        self.order = None
        self.rest = 0
        self.mark = None
        self.last = None
        self.bar = None

    def tradable(self):
        return self.bar is not None and self.bar["volume"] > 0 and not self.bar["is_filled"]

    def parts(self):
        """The finer bars of the present bar, None when they are not complete."""
        if len(self.finer) < 2 or self.length is None:
            return None
        begin = self.bar["ts"]
        inside = [row for row in self.finer if begin <= row["ts"] < begin + self.length and not row["is_filled"]]
        if len(inside) != self.length // self.step:
            return None
        return [row for row in inside if row["volume"] > 0] or None


def rounded(price, tick, way):
    if not tick or not math.isfinite(price):
        return price
    steps = price / tick
    whole = round(steps)
    if abs(steps - whole) > 1e-9 * max(1, abs(whole)):
        whole = math.floor(steps) if way == "down" else math.ceil(steps)
    if abs(round(1 / tick) * tick - 1) < 1e-12:
        return whole / round(1 / tick)
    return whole * tick


def lots(amount, lot):
    if not lot or not math.isfinite(amount):
        return amount
    whole = math.floor(amount / lot)
    return whole / round(1 / lot) if abs(round(1 / lot) * lot - 1) < 1e-12 else whole * lot


class Trader:
    def __init__(self, account, markets, settings, both_means):
        self.account, self.markets, self.s, self.both_means = account, markets, settings, both_means

    # What there is

    def cash(self):
        taken = 0
        for market in self.markets:
            if market.position:
                position = market.position
                taken += position["amount"] * position["price"] + position["fee"] - position["funding"]
        return self.account.money - taken

    def worth(self):
        value = self.cash()
        for market in self.markets:
            if market.position:
                position = market.position
                gain = (market.mark - position["price"]) * (1 if position["long"] else -1)
                value += position["amount"] * (position["price"] + gain)
        return value

    # One time of the clock

    def step(self, now):
        for market in self.markets:
            market.bar = market.rows.get(now)
        for market in self.markets:
            if market.bar:
                self.fund(market)
        for market in self.markets:
            if market.position and market.tradable():
                self.exit_at_open(market)
        self.entries()
        for market in self.markets:
            if market.position and market.tradable():
                self.exit_inside(market)
        for market in self.markets:
            if market.bar:
                self.close_of_bar(market)

    def fund(self, market):
        while market.due and market.due[0][0] <= market.bar["ts"]:
            _, rate = market.due.pop(0)
            if market.position:
                notional = market.position["amount"] * market.bar["open"]
                market.position["funding"] += -rate * notional if market.position["long"] else rate * notional

    def exit_at_open(self, market):
        position, price = market.position, market.bar["open"]
        long = position["long"]
        if price <= position["stop"] if long else price >= position["stop"]:
            self.leave(market, price, position["stop_name"], False)
        elif price >= position["target"] if long else price <= position["target"]:
            self.leave(market, price, "take_profit", False)
        elif position["leaving"]:
            self.leave(market, price, position["leaving"], False)
        elif position["part_at"] is not None and (price >= position["part_at"] if long else price <= position["part_at"]):
            self.leave_partly(market, price, False)

    # Entries

    def entries(self):
        ready = []
        for market in self.markets:
            if market.order and market.bar:
                if market.tradable():
                    ready.append(market)
                elif market.order["limit"] is None:
                    market.order = None
                    self.account.refuse("not_tradable")
        ready.sort(key=lambda market: -market.order["priority"])
        worth = self.worth()
        for market in ready:
            order, bar = market.order, market.bar
            limit, price = order["limit"], bar["open"]
            if limit is None or (price <= limit if order["long"] else price >= limit):
                market.order = None
                self.enter(market, order, price, limit is not None and order["age"] > 0, worth, inside=False)
        for market in ready:
            order, bar = market.order, market.bar
            if order and (bar["low"] <= order["limit"] if order["long"] else bar["high"] >= order["limit"]):
                market.order = None
                self.enter(market, order, order["limit"], True, worth, inside=True)

    def enter(self, market, order, price, resting, worth, inside):
        s, barred = self.s, self.barred(market)
        if barred:
            return self.account.refuse(barred)
        long, tick = order["long"], market.rules["tick"]
        position = self.levels(order, price, tick)
        if position is None:
            return self.account.refuse("wrong_side")
        share = s["size"]
        if s["sizing"] == "volatility":
            if order["volatility"] is None:
                return self.account.refuse("volatility")
            yearly = order["volatility"] * math.sqrt(s["bars_per_year"])
            share = min(share, s["target_volatility"] / yearly if yearly else INF)
        money = min(share * worth, self.cash())
        if money <= 1e-12 * abs(worth):
            return self.account.refuse("cash")
        fee = s["fee_rate"] if not resting or s["maker_fee_rate"] is None else s["maker_fee_rate"]
        if s["sizing"] == "risk" and not 0 < position["stop"] < INF:
            return self.account.refuse("no_stop")
        worst = INF if s["volume_share"] == INF else s["volume_share"] * market.bar["volume"]
        paid = price if resting else self.entry_price(market, order, price, 0)
        amount = min(self.affords(position, money, worth, paid, fee), worst)
        if not resting:
            paid = self.entry_price(market, order, price, amount)
            if paid <= 0:
                return self.account.refuse("volume")
            amount = min(amount, self.affords(position, money, worth, paid, fee))
        amount = lots(amount, market.rules["lot"])
        if amount <= 0 or amount * paid < market.rules["min_notional"]:
            return self.account.refuse("too_small")
        if not long:
            position["stop"] = min(position["stop"], 2 * price)
        market.mark = price
        market.position = position | {
            "entry_ts": market.bar["ts"],
            "price": paid,
            "amount": amount,
            "fee": amount * paid * fee,
            "funding": 0.0,
            "bars": 0,
            "leaving": None,
            "low": price,
            "high": price,
            "inside": inside,
            "doubt": False,
        }

    def barred(self, market):
        most = self.s["max_positions"]
        if market.position:
            return "in_position"
        if market.rest > 0:
            return "cooldown"
        return "max_positions" if most and sum(1 for other in self.markets if other.position) >= most else None

    def levels(self, order, price, tick):
        s, long = self.s, order["long"]
        way = "down" if long else "up"
        sign = 1 if long else -1
        stops = [price * (1 - sign * s["stop_loss"])]
        targets = [price * (1 + sign * s["take_profit"])]
        if order["stop"] is not None:
            stops.append(order["stop"])
        if order["target"] is not None:
            targets.append(order["target"])
        if long and (order["stop"] or -INF) >= price or not long and (order["stop"] or INF) <= price:
            return None
        if long and (order["target"] or INF) <= price or not long and (order["target"] or -INF) >= price:
            return None
        stop = rounded(max(stops) if long else min(stops), tick, way)
        target = rounded(min(targets) if long else max(targets), tick, way)
        if tick and (target <= price if long else target >= price):
            return None
        position = {"long": long, "stop": stop, "target": target, "stop_name": "stop_loss", "market": price, "part_at": None}
        if s["trailing_stop"]:
            self.tighten(position, rounded(price * (1 - sign * s["trailing_stop"]), tick, way), "trailing_stop")
        if s["partial_take_profit"]:
            at = rounded(price * (1 + sign * s["partial_at"]), tick, way)
            if at < target if long else at > target:
                position["part_at"] = at
        return position

    def tighten(self, position, level, name):
        if level > position["stop"] if position["long"] else level < position["stop"]:
            position["stop"], position["stop_name"] = level, name

    def affords(self, position, money, worth, paid, fee):
        s = self.s
        amount = money / (paid * (1 + fee))
        if s["sizing"] == "risk":
            slip, stop, taker = s["slippage_bps"] / 10_000, position["stop"], s["fee_rate"]
            if position["long"]:
                loss = paid * (1 + fee) - stop * (1 - slip) * (1 - taker)
            else:
                loss = stop * (1 + slip) * (1 + taker) - paid * (1 - fee)
            amount = min(amount, s["risk_per_trade"] * worth / loss)
        return amount

    def slippage(self, bar, price, amount):
        s = self.s
        share = s["slippage_bps"] / 10_000 + s["slippage_range_share"] * (bar["high"] - bar["low"]) / price
        if s["volume_impact"] and bar["volume"] > 0:
            share += s["volume_impact"] * math.sqrt(amount / bar["volume"])
        return share

    def entry_price(self, market, order, price, amount):
        slip = self.slippage(market.bar, price, amount)
        if order["long"]:
            return min(price * (1 + slip), INF if order["limit"] is None else order["limit"])
        return max(price * (1 - slip), 0 if order["limit"] is None else order["limit"])

    # Exits

    def exit_inside(self, market):
        position, bar = market.position, market.bar
        verdict = self.judge(position, bar["high"], bar["low"], position["inside"], True)
        if verdict["both"] and market.parts() is not None:
            verdict = self.drill(market, verdict)
        if verdict["both"]:
            position["doubt"] = True
        if verdict["part"]:
            self.leave_partly(market, position["part_at"], verdict["both"])
        if verdict["exit"] and market.position:
            level = position["target"] if verdict["exit"] == "take_profit" else position["stop"]
            self.leave(market, level, verdict["exit"], verdict["both"])

    def judge(self, position, high, low, inside, part_open):
        long = position["long"]
        stopped = low <= position["stop"] if long else high >= position["stop"]
        won = high >= position["target"] if long else low <= position["target"]
        at = position["part_at"]
        part = part_open and at is not None and (high >= at if long else low <= at)
        stop = position["stop_name"] if stopped else None
        if not (won or part):
            return {"part": False, "exit": stop, "both": False}
        both = stopped or inside
        if both and self.both_means == "stop":
            return {"part": False, "exit": stop, "both": True}
        return {"part": part, "exit": "take_profit" if won else stop, "both": both}

    def drill(self, market, unresolved):
        position, bar = market.position, market.bar
        long, limit = position["long"], position["market"]
        entered, part, both = not position["inside"], False, False
        for finer in market.parts():
            high, low = min(finer["high"], bar["high"]), max(finer["low"], bar["low"])
            inside = False
            if not entered:
                if not (low <= limit if long else high >= limit):
                    continue
                entered = True
                inside = not (finer["open"] <= limit if long else finer["open"] >= limit)
            verdict = self.judge(position, high, low, inside, not part)
            part, both = part or verdict["part"], both or verdict["both"]
            if verdict["exit"]:
                return {"part": part, "exit": verdict["exit"], "both": both}
        stopped = bar["low"] <= position["stop"] if long else bar["high"] >= position["stop"]
        if stopped or not entered:
            return unresolved
        return {"part": part, "exit": None, "both": both}

    def most(self, market):
        if self.s["volume_share"] == INF:
            return INF
        return lots(self.s["volume_share"] * market.bar["volume"], market.rules["lot"])

    def leave(self, market, price, why, both):
        amount = min(market.position["amount"], self.most(market))
        if amount < market.position["amount"]:
            market.position["leaving"] = why
        if amount > 0:
            self.sell(market, amount, price, why, both)

    def leave_partly(self, market, price, both):
        position = market.position
        position["part_at"] = None
        amount = min(lots(position["amount"] * self.s["partial_take_profit"], market.rules["lot"]), self.most(market))
        if amount > 0:
            self.sell(market, amount, price, "partial_take_profit", both)

    def sell(self, market, amount, price, why, both):
        position = market.position
        slip = self.slippage(market.bar, price, amount)
        share = amount / position["amount"]
        fee, funding = position["fee"] * share, position["funding"] * share
        if position["long"]:
            got = max(price * (1 - slip), 0)
            gain = amount * (got - position["price"])
        else:
            got = price * (1 + slip)
            gain = amount * (position["price"] - got)
        fees = fee + amount * got * self.s["fee_rate"]
        position["low"], position["high"] = min(position["low"], price), max(position["high"], price)
        down = (position["price"] - position["low"]) / position["price"]
        up = (position["high"] - position["price"]) / position["price"]
        pnl = gain - fees + funding
        self.account.trades.append(
            {
                "symbol": market.symbol,
                "side": 1 if position["long"] else -1,
                "entry_ts": position["entry_ts"],
                "entry_price": position["price"],
                "exit_ts": market.bar["ts"],
                "exit_price": got,
                "exit_reason": why,
                "quantity": amount,
                "fees": fees,
                "funding": funding,
                "slippage_cost": amount * (abs(position["price"] - position["market"]) + abs(price - got)),
                "pnl": pnl,
                "return_pct": pnl / (amount * position["price"]),
                "ambiguous": both or position["doubt"],
                "max_adverse": max(down if position["long"] else up, 0),
                "max_favourable": max(up if position["long"] else down, 0),
            }
        )
        self.account.money += pnl
        if amount == position["amount"]:
            market.position = None
            market.rest = self.s["cooldown_bars"]
        else:
            position["amount"] -= amount
            position["fee"] -= fee
            position["funding"] -= funding

    # The close

    def close_of_bar(self, market):
        bar, s = market.bar, self.s
        decision = bar["decision"]
        market.last, market.mark = bar, bar["close"]
        position = market.position
        if position:
            self.end_of_held_bar(market, position, bar, decision)
        order = market.order
        if order:
            order["age"] += 1
            if decision["exit_long"] if order["long"] else decision["exit_short"]:
                market.order = None
            elif order["age"] >= s["limit_expiry_bars"]:
                market.order = None
                self.account.refuse("expired")
        if decision["side"]:
            self.ask(market, decision)
        if market.rest and not market.position:
            market.rest -= 1

    def end_of_held_bar(self, market, position, bar, decision):
        s, long, tick = self.s, position["long"], market.rules["tick"]
        high, low = bar["high"], bar["low"]
        if position["inside"]:
            high, low = (bar["close"], low) if long else (high, bar["close"])
        position["high"], position["low"] = max(position["high"], high), min(position["low"], low)
        position["inside"] = False
        position["bars"] += 1
        best, sign, way = (position["high"], 1, "down") if long else (position["low"], -1, "up")
        if s["break_even_at"]:
            wanted = position["market"] * (1 + sign * s["break_even_at"])
            if best >= wanted if long else best <= wanted:
                self.tighten(position, rounded(position["market"], tick, way), "break_even")
        if s["trailing_stop"]:
            self.tighten(position, rounded(best * (1 - sign * s["trailing_stop"]), tick, way), "trailing_stop")
        if not position["leaving"]:
            if decision["exit_long"] if long else decision["exit_short"]:
                position["leaving"] = "signal"
            elif s["time_stop_bars"] and position["bars"] >= s["time_stop_bars"]:
                position["leaving"] = "time_stop"

    def ask(self, market, decision):
        long = decision["side"] > 0
        if decision["exit_long"] if long else decision["exit_short"]:
            return
        position = market.position
        if position and (not position["leaving"] or position["long"] == long):
            return
        if not position and market.rest > 0:
            return self.account.refuse("cooldown")
        if not long and not self.s["short"]:
            return self.account.refuse("short")
        known = {name: None if math.isnan(decision[name]) else decision[name] for name in decision if name.endswith("_level")}
        limit = None if math.isnan(decision["limit_price"]) else decision["limit_price"]
        market.order = {
            "long": long,
            "stop": known["stop_level"],
            "target": known["target_level"],
            "limit": None if limit is None else rounded(limit, market.rules["tick"], "up" if long else "down"),
            "volatility": None if math.isnan(decision["volatility"]) else decision["volatility"],
            "priority": decision["priority"],
            "age": 0,
        }
