"""The official Python client against the simulator: each check prints one line of JSON.

The environment names the simulator (SIMULATOR) and its markets (MARKETS, JSON). A check is a promise of the venue's
that the client relies on; its name stands in README.md. A gap is a call that the client offers and the simulator does
not answer.
"""

import json
import logging
import os
import time
import traceback

from py_clob_client_v2.client import ClobClient
from py_clob_client_v2.clob_types import (
    AssetType,
    BalanceAllowanceParams,
    BookParams,
    BuilderTradeParams,
    CreateOrderOptions,
    MarketOrderArgs,
    OpenOrderParams,
    OrderArgs,
    OrderMarketCancelParams,
    OrderPayload,
    OrderScoringParams,
    OrdersScoringParams,
    OrderType,
    PostOrdersV2Args,
    PricesHistoryParams,
    TradeParams,
)
from py_clob_client_v2.exceptions import PolyApiException

logging.disable(logging.CRITICAL)

HOST = os.environ["SIMULATOR"]
MARKETS = json.loads(os.environ["MARKETS"])
PLAIN = MARKETS["plain"]
CHAIN = 137
# Keys of nobody: any would do.
KEYS = ["0x" + f"{n:064x}" for n in (0xA11CE, 0xB0B, 0xCA11, 0xD00D)]
WALLETS = {1: "0x" + "a1" * 20, 2: "0x" + "a2" * 20, 3: "0x" + "a3" * 20}


def said(name, outcome, why=""):
    print(json.dumps({"check": name, "outcome": outcome, "why": why}), flush=True)


def check(name):
    def run(promise):
        try:
            promise()
            said(name, "works")
        except Exception:
            said(name, "fails", traceback.format_exc())
        return promise

    return run


def gap(name):
    """Must be refused as unknown: once the simulator learns it, the table has to say so."""

    def run(call):
        try:
            call()
            said(name, "works")
        except PolyApiException as error:
            known = error.status_code == 404 and "no such route" in str(error)
            said(name, "gap" if known or error.status_code == 405 else "fails", str(error))
        except Exception:
            said(name, "fails", traceback.format_exc())
        return call

    return run


def refused(words, call, status=400):
    try:
        answer = call()
    except PolyApiException as error:
        assert error.status_code == status and words in str(error), error
        return
    raise AssertionError(f"not refused: {answer}")


def trader(kind=0):
    key = KEYS[kind]
    client = ClobClient(HOST, CHAIN, key=key, signature_type=kind, funder=WALLETS.get(kind))
    client.set_api_creds(client.create_or_derive_api_key())
    return client


def limit(token, price, size, side, **more):
    return OrderArgs(token_id=token, price=price, size=size, side=side, **more)


def amount(token, usdc, side, price, kind):
    return MarketOrderArgs(token_id=token, amount=usdc, side=side, price=price, order_type=kind)


def soon():
    return int(time.time()) + 600


@check("is it there")
def _():
    client = ClobClient(HOST, CHAIN)
    assert client.get_ok() == "OK"
    assert client.get_version() == 2
    assert abs(client.get_server_time() - time.time()) < 5


@check("L1: create, derive, create or derive an API key")
def _():
    client = ClobClient(HOST, CHAIN, key=KEYS[0])
    made = client.create_api_key()
    assert client.derive_api_key() == made == client.create_or_derive_api_key()
    assert client.create_api_key(nonce=7) != made
    refused("Could not derive api key", lambda: ClobClient(HOST, CHAIN, key=KEYS[0]).derive_api_key(nonce=99))


@check("L2: keys, closed-only, a deleted key")
def _():
    client = ClobClient(HOST, CHAIN, key="0x" + "77" * 32)
    client.set_api_creds(client.create_api_key())
    assert client.creds.api_key in client.get_api_keys()["apiKeys"]
    assert client.get_closed_only_mode() == {"closed_only": False}
    client.delete_api_key()
    refused("Unauthorized/Invalid api key", client.get_api_keys, 401)


@check("book and its hash, books")
def _():
    client = ClobClient(HOST, CHAIN)
    book = client.get_order_book(PLAIN["yes"])
    assert client.get_order_book_hash(dict(book)) == book["hash"], book
    prices = [float(level["price"]) for level in book["asks"]]
    assert prices == sorted(prices, reverse=True), "the best ask is the last"
    both = client.get_order_books([BookParams(PLAIN["yes"]), BookParams(PLAIN["no"])])
    assert [b["asset_id"] for b in both] == [PLAIN["yes"], PLAIN["no"]]


@check("tick size, neg-risk, fee rate, fee exponent")
def _():
    client = ClobClient(HOST, CHAIN)
    for market in MARKETS.values():
        assert client.get_tick_size(market["yes"]) == market["tick"], market
        assert client.get_neg_risk(market["yes"]) is market["neg_risk"]
    assert client.get_fee_rate_bps(PLAIN["yes"]) == 1000
    assert client.get_fee_exponent(PLAIN["yes"]) == 1


@check("price, midpoint, spread, last trade, of one and of many")
def _():
    client = ClobClient(HOST, CHAIN)
    yes, no = PLAIN["yes"], PLAIN["no"]
    assert client.get_price(yes, "BUY") == {"price": "0.49"}
    assert client.get_price(yes, "SELL") == {"price": "0.5"}
    assert client.get_midpoint(yes) == {"mid": "0.495"}
    assert client.get_spread(yes) == {"spread": "0.01"}
    assert client.get_last_trade_price(yes)["price"] == "0.5"
    both = [BookParams(yes, "BUY"), BookParams(yes, "SELL"), BookParams(no, "BUY")]
    assert client.get_prices(both) == {yes: {"BUY": "0.49", "SELL": "0.5"}, no: {"BUY": "0.5"}}
    assert client.get_midpoints([BookParams(yes)]) == {yes: "0.495"}
    assert client.get_spreads([BookParams(yes)]) == {yes: "0.01"}
    assert [row["price"] for row in client.get_last_trades_prices([BookParams(yes), BookParams(no)])] == ["0.5", "0.5"]


@check("markets: one, its specification, lists")
def _():
    client = ClobClient(HOST, CHAIN)
    market = client.get_market(PLAIN["condition"])
    assert [token["token_id"] for token in market["tokens"]] == [PLAIN["yes"], PLAIN["no"]]
    assert market["minimum_tick_size"] == 0.01 and market["accepting_orders"]
    assert client.get_clob_market_info(PLAIN["condition"])["fd"] == {"r": 0.05, "e": 1, "to": True}
    for page in (
        client.get_markets(),
        client.get_simplified_markets(),
        client.get_sampling_markets(),
        client.get_sampling_simplified_markets(),
    ):
        assert page["next_cursor"] == "LTE=" and page["count"] == len(MARKETS) == len(page["data"])


NAMES = {0: "EOA", 1: "proxy", 2: "Safe", 3: "deposit wallet (POLY_1271)"}
for kind, name in NAMES.items():

    @check(f"{name}: GTC and GTD rest, FAK and FOK take, both sides")
    def _(kind=kind):
        client = trader(kind)
        token = PLAIN["yes"]
        rests = client.create_and_post_order(limit(token, 0.40, 10, "BUY"))
        assert rests["success"] and rests["status"] == "live" and rests["errorMsg"] == "", rests
        gtd = client.create_and_post_order(
            limit(token, 0.41, 10, "BUY", expiration=soon()), order_type=OrderType.GTD
        )
        assert gtd["status"] == "live", gtd
        fak = client.create_and_post_market_order(
            amount(token, 10, "BUY", 0.52, OrderType.FAK), order_type=OrderType.FAK
        )
        # The client follows the trade until its transaction is known.
        assert fak["status"] == "matched" and len(fak["transactionsHashes"]) == 1, fak
        assert float(fak["makingAmount"]) <= 10 and float(fak["takingAmount"]) >= 10 / 0.52, "at a better price"
        fok = client.create_and_post_market_order(amount(token, 5, "BUY", 0.52, OrderType.FOK))
        assert fok["status"] == "matched", fok
        sell = client.create_and_post_market_order(
            amount(token, 6, "SELL", 0.40, OrderType.FAK), order_type=OrderType.FAK
        )
        assert sell["status"] == "matched" and float(sell["makingAmount"]) == 6, sell
        fok = client.create_and_post_market_order(amount(token, 5, "SELL", 0.40, OrderType.FOK))
        assert fok["status"] == "matched", fok
        rest = client.create_and_post_order(limit(token, 0.60, 5, "SELL"))
        assert rest["status"] == "live", rest
        order = client.get_order(rests["orderID"])
        wallet = WALLETS.get(kind, client.get_address()).lower()
        assert order["maker_address"].lower() == wallet and order["status"] == "LIVE", order
        assert len(client.cancel_all()["canceled"]) == 3


@check("a market order at a price of the client's own finding")
def _():
    client = trader()
    bought = client.create_and_post_market_order(
        MarketOrderArgs(token_id=PLAIN["yes"], amount=3, side="BUY", order_type=OrderType.FOK)
    )
    assert bought["status"] == "matched", bought
    with_balance = MarketOrderArgs(
        token_id=PLAIN["yes"], amount=3, side="BUY", order_type=OrderType.FOK, user_usdc_balance=2.0
    )
    less = client.create_and_post_market_order(with_balance)
    assert float(less["makingAmount"]) < 2.0, "the fee is left over"


@check("neg-risk exchange")
def _():
    client = trader()
    market = MARKETS["neg_risk"]
    taken = client.create_and_post_order(limit(market["yes"], 0.5, 10, "BUY"))
    assert taken["status"] == "matched", taken


@check("Exchange V3")
def _():
    client = trader()
    market = MARKETS["v3"]
    args = OrderArgs(position_id=market["yes"], price=0.5, size=10, side="BUY")
    taken = client.create_and_post_order(args)
    assert taken["status"] == "matched", taken
    refused("order_version_mismatch", lambda: client.create_and_post_order(limit(market["yes"], 0.4, 10, "BUY")))


@check("every tick, both sides, amounts as the client rounds them")
def _():
    client = trader()
    for name in ("tick_1", "tick_005", "tick_0025", "tick_001", "tick_0001"):
        market = MARKETS[name]
        tick = float(market["tick"])
        bought = client.create_and_post_order(limit(market["yes"], 0.5 + tick, 7.77, "BUY"))
        assert bought["status"] == "matched", (name, bought)
        sold = client.create_and_post_market_order(
            amount(market["yes"], 5.55, "SELL", 0.5 - 2 * tick, OrderType.FAK), order_type=OrderType.FAK
        )
        assert sold["status"] == "matched", (name, sold)
        fine = client.create_and_post_market_order(
            amount(market["yes"], 3.33, "BUY", 0.5 + 2 * tick, OrderType.FAK), order_type=OrderType.FAK
        )
        assert fine["status"] == "matched", (name, fine)
    # A client that believes in a finer tick than the market has.
    options = CreateOrderOptions(tick_size="0.001", neg_risk=False)
    order = client.builder.build_order(limit(PLAIN["yes"], 0.405, 10, "BUY"), options, version=2)
    refused("Price (0.405) breaks minimum tick size rule: 0.01", lambda: client.post_order(order))


@check("post-only, and a repeat of the same order")
def _():
    client = trader()
    refused(
        "invalid post-only order: order crosses book",
        lambda: client.create_and_post_order(limit(PLAIN["yes"], 0.5, 10, "BUY"), post_only=True),
    )
    order = client.create_order(limit(PLAIN["yes"], 0.3, 10, "BUY"))
    posted = client.post_order(order, post_only=True)
    assert posted["status"] == "live"
    refused(f"order {posted['orderID']} is invalid. Duplicated.", lambda: client.post_order(order))
    client.cancel_order(OrderPayload(orderID=posted["orderID"]))


@check("a batch, each entry by itself")
def _():
    client = trader()
    args = [
        PostOrdersV2Args(client.create_order(limit(PLAIN["yes"], price, size, "BUY")), OrderType.GTC)
        for price, size in ((0.30, 10), (0.30, 1), (0.50, 10))
    ]
    rests, small, takes = client.post_orders(args)
    assert rests["status"] == "live" and takes["status"] == "matched", (rests, takes)
    assert small["orderID"] == "" and "lower than the minimum: 5" in small["errorMsg"], small
    refused("Too many orders in payload: 16, max allowed: 15", lambda: client.post_orders([args[0]] * 16))
    client.cancel_all()


@check("refusals in the venue's words")
def _():
    client = trader()
    token = PLAIN["yes"]
    refused("lower than the minimum: 5", lambda: client.create_and_post_order(limit(token, 0.4, 4, "BUY")))
    refused("not enough balance / allowance", lambda: client.create_and_post_order(limit(token, 0.4, 1e6, "BUY")))
    refused(
        "min size: $1",
        lambda: client.create_and_post_market_order(
            amount(token, 0.5, "BUY", 0.6, OrderType.FAK), order_type=OrderType.FAK
        ),
    )
    refused(
        "FOK orders are fully filled or killed",
        lambda: client.create_and_post_market_order(amount(token, 9000, "BUY", 0.51, OrderType.FOK)),
    )
    refused(
        "no orders found to match with FAK order",
        lambda: client.create_and_post_market_order(
            amount(token, 5, "BUY", 0.2, OrderType.FAK), order_type=OrderType.FAK
        ),
    )
    refused(
        "invalid expiration",
        lambda: client.create_and_post_order(
            limit(token, 0.4, 10, "BUY", expiration=int(time.time()) + 60), order_type=OrderType.GTD
        ),
    )
    stranger = trader()
    stranger.creds.api_secret = "AAAA"
    refused("Unauthorized/Invalid api key", stranger.get_open_orders, 401)


@check("orders: by id, live ones by market and token, page by page")
def _():
    client = trader(1)
    made = []
    for _ in range(7):
        batch = [
            PostOrdersV2Args(client.create_order(limit(PLAIN["yes"], 0.1, 5, "BUY")), OrderType.GTC) for _ in range(15)
        ]
        made += [answer["orderID"] for answer in client.post_orders(batch)]
        # Forty orders a second are one signer's.
        time.sleep(0.4)
    assert len(set(made)) == 105
    other = client.create_and_post_order(limit(MARKETS["neg_risk"]["no"], 0.1, 5, "BUY"))["orderID"]
    assert {o["id"] for o in client.get_open_orders()} == {*made, other}, "two pages"
    assert len(client.get_open_orders(only_first_page=True)) == 100
    of_market = client.get_open_orders(OpenOrderParams(market=MARKETS["neg_risk"]["condition"]))
    assert [o["id"] for o in of_market] == [other]
    assert [o["id"] for o in client.get_open_orders(OpenOrderParams(id=other))] == [other]
    assert len(client.get_open_orders(OpenOrderParams(asset_id=PLAIN["yes"]))) == 105
    row = client.get_order(other)
    assert (row["original_size"], row["size_matched"], row["price"]) == ("5", "0", "0.1"), row
    refused("order not found", lambda: client.get_order("0x" + "00" * 32), 404)


@check("cancel one, many, a market's, all, and what was not cancelled")
def _():
    client = trader(1)
    yes = client.get_open_orders(OpenOrderParams(asset_id=PLAIN["yes"]))
    one, *many = (o["id"] for o in yes[:21])
    assert client.cancel_order(OrderPayload(orderID=one))["canceled"] == [one]
    again = client.cancel_orders([one, *many])
    assert set(again["canceled"]) == set(many)
    assert again["not_canceled"] == {one: "Order not found or already canceled"}, again
    market = MARKETS["neg_risk"]["condition"]
    assert len(client.cancel_market_orders(OrderMarketCancelParams(market=market))["canceled"]) == 1
    assert len(client.cancel_market_orders(OrderMarketCancelParams(asset_id=PLAIN["yes"]))["canceled"]) == 84
    matched = client.create_and_post_order(limit(PLAIN["yes"], 0.5, 5, "BUY"))["orderID"]
    left = client.cancel_order(OrderPayload(orderID=matched))
    assert left["not_canceled"] == {matched: "Order already matched"}, left
    assert client.cancel_all() == {"canceled": [], "not_canceled": {}}
    assert client.get_open_orders() == []


@check("trades: by every filter, and until they are confirmed")
def _():
    client = trader(2)
    before = int(time.time()) - 1
    placed = client.create_and_post_order(limit(PLAIN["no"], 0.55, 6, "BUY"))
    (trade_id,) = placed["tradeIDs"]
    for filters in (
        {"id": trade_id},
        {"asset_id": PLAIN["no"], "after": before},
        {"market": PLAIN["condition"], "before": int(time.time()) + 60},
        {"maker_address": WALLETS[2]},
    ):
        assert trade_id in [t["id"] for t in client.get_trades(TradeParams(**filters))], filters
    assert client.get_trades(TradeParams(after=int(time.time()) + 60)) == []
    page = client.get_trades_paginated(TradeParams(id=trade_id))
    assert page["next_cursor"] == "LTE=" and page["count"] == 1
    for _ in range(40):
        (trade,) = client.get_trades(TradeParams(id=trade_id))
        if trade["status"] == "CONFIRMED":
            break
        time.sleep(0.1)
    assert trade["status"] == "CONFIRMED" and trade["transaction_hash"].startswith("0x"), trade
    assert trade["taker_order_id"] == placed["orderID"] and trade["trader_side"] == "TAKER"


@check("balance and allowance")
def _():
    client = trader(2)
    dollars = client.get_balance_allowance(BalanceAllowanceParams(asset_type=AssetType.COLLATERAL))
    assert 0 < int(dollars["balance"]) < 10_000 * 10**6 and len(dollars["allowances"]) == 3, dollars
    shares = client.get_balance_allowance(
        BalanceAllowanceParams(asset_type=AssetType.CONDITIONAL, token_id=PLAIN["no"])
    )
    assert int(shares["balance"]) == 6 * 10**6, shares
    client.update_balance_allowance(BalanceAllowanceParams(asset_type=AssetType.COLLATERAL))


@check("heartbeats")
def _():
    client = trader()
    first = client.post_heartbeat()["heartbeat_id"]
    second = client.post_heartbeat(first)["heartbeat_id"]
    refused(second, lambda: client.post_heartbeat(first))
    assert client.post_heartbeat(second)["heartbeat_id"] not in ("", first, second)


CLIENT = trader()
DAY = "2026-10-01"
gap("price history")(lambda: CLIENT.get_prices_history(PricesHistoryParams(market=PLAIN["yes"], interval="1d")))
gap("live activity of a market")(lambda: CLIENT.get_market_trades_events(PLAIN["condition"]))
gap("orders from before the migration")(lambda: CLIENT.get_pre_migration_orders())
gap("order scoring")(lambda: CLIENT.is_order_scoring(OrderScoringParams(orderId="0x" + "00" * 32)))
gap("order scoring, of many")(lambda: CLIENT.are_orders_scoring(OrdersScoringParams(orderIds=["0x" + "00" * 32])))
gap("notifications")(lambda: CLIENT.get_notifications())
gap("notifications, dropped")(lambda: CLIENT.drop_notifications())
gap("read-only keys: made")(lambda: CLIENT.create_readonly_api_key())
gap("read-only keys: listed")(lambda: CLIENT.get_readonly_api_keys())
gap("read-only keys: deleted")(lambda: CLIENT.delete_readonly_api_key("key"))
gap("builder keys: made")(lambda: CLIENT.create_builder_api_key())
gap("builder keys: listed")(lambda: CLIENT.get_builder_api_keys())
gap("builder keys: revoked")(lambda: CLIENT.revoke_builder_api_key())
gap("builder trades")(lambda: CLIENT.get_builder_trades(BuilderTradeParams(builder_code="0x" + "11" * 32)))
gap("rewards: current")(lambda: CLIENT.get_current_rewards())
gap("rewards: of a market")(lambda: CLIENT.get_raw_rewards_for_market(PLAIN["condition"]))
gap("rewards: earnings of a day")(lambda: CLIENT.get_earnings_for_user_for_day(DAY))
gap("rewards: total earnings of a day")(lambda: CLIENT.get_total_earnings_for_user_for_day(DAY))
gap("rewards: percentages")(lambda: CLIENT.get_reward_percentages())
gap("rewards: earnings and markets")(lambda: CLIENT.get_user_earnings_and_markets_config(DAY))
gap("RFQ")(lambda: CLIENT.rfq.rfq_config())
