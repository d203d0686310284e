// The official TypeScript client against the simulator: each check prints one line of JSON.
//
// The environment names the simulator (SIMULATOR), its markets (MARKETS, JSON) and where the client is installed
// (MODULES). A check is a promise of the venue's that the client relies on; its name stands in README.md. A gap is a call
// that the client offers and the simulator does not answer.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { join } from "node:path";

const installed = createRequire(join(process.env.MODULES, "package.json"));
const { ClobClient, OrderType, Side, AssetType, SignatureTypeV2 } = installed("@polymarket/clob-client-v2");
const { Wallet } = installed("@ethersproject/wallet");

const HOST = process.env.SIMULATOR;
const MARKETS = JSON.parse(process.env.MARKETS);
const PLAIN = MARKETS.plain;
const CHAIN = 137;
const { BUY, SELL } = Side;
// Keys of nobody, and not those of the Python suite's traders.
const KEYS = [0x5a11ce, 0x5b0b, 0x5ca11, 0x5d00d].map((n) => `0x${n.toString(16).padStart(64, "0")}`);
const WALLETS = { 1: `0x${"b1".repeat(20)}`, 2: `0x${"b2".repeat(20)}`, 3: `0x${"b3".repeat(20)}` };

const said = (check, outcome, why = "") => console.log(JSON.stringify({ check, outcome, why }));

async function check(name, promise) {
    try {
        await promise();
        said(name, "works");
    } catch (error) {
        said(name, "fails", String(error?.stack ?? error));
    }
}

// Must be refused as unknown: once the simulator learns it, the table has to say so.
async function gap(name, call) {
    try {
        await call();
        said(name, "works");
    } catch (error) {
        const known = (error.status === 404 && String(error.message).includes("no such route")) || error.status === 405;
        said(name, known ? "gap" : "fails", String(error?.stack ?? error));
    }
}

async function refused(words, call, status = 400) {
    let answer;
    try {
        answer = await call();
    } catch (error) {
        assert.equal(error.status, status, String(error.stack));
        assert.ok(String(error.message).includes(words) || JSON.stringify(error.data ?? {}).includes(words), String(error));
        return;
    }
    assert.fail(`not refused: ${JSON.stringify(answer)}`);
}

const client = (key, kind, creds) =>
    new ClobClient({
        host: HOST,
        chain: CHAIN,
        signer: key && new Wallet(key),
        creds,
        signatureType: kind,
        funderAddress: WALLETS[kind],
        throwOnError: true,
    });

async function trader(kind = 0) {
    const creds = await client(KEYS[kind], kind).createOrDeriveApiKey();
    return client(KEYS[kind], kind, creds);
}

const limit = (tokenID, price, size, side, more = {}) => ({ tokenID, price, size, side, ...more });
const amount = (tokenID, usdc, side, price, orderType) => ({ tokenID, amount: usdc, side, price, orderType });
const now = () => Math.floor(Date.now() / 1000);
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

await check("is it there", async () => {
    const c = client();
    assert.equal(await c.getOk(), "OK");
    assert.equal(await c.getVersion(), 2);
    assert.ok(Math.abs((await c.getServerTime()) - now()) < 5);
});

await check("L1: create, derive, create or derive an API key", async () => {
    const c = client(KEYS[0]);
    const made = await c.createApiKey();
    assert.deepEqual(await c.deriveApiKey(), made);
    assert.deepEqual(await c.createOrDeriveApiKey(), made);
    assert.notDeepEqual(await c.createApiKey(7), made);
    await refused("Could not derive api key", () => c.deriveApiKey(99));
});

await check("L2: keys, closed-only, a deleted key", async () => {
    const key = `0x${"78".repeat(32)}`;
    const c = client(key, 0, await client(key).createApiKey());
    assert.ok((await c.getApiKeys()).apiKeys.includes(c.creds.key));
    assert.deepEqual(await c.getClosedOnlyMode(), { closed_only: false });
    await c.deleteApiKey();
    await refused("Unauthorized/Invalid api key", () => c.getApiKeys(), 401);
});

await check("book and its hash, books", async () => {
    const c = client();
    const book = await c.getOrderBook(PLAIN.yes);
    assert.equal(await c.getOrderBookHash({ ...book }), book.hash);
    const prices = book.asks.map((level) => Number(level.price));
    assert.deepEqual(prices, [...prices].sort((a, b) => b - a), "the best ask is the last");
    const both = await c.getOrderBooks([{ token_id: PLAIN.yes }, { token_id: PLAIN.no }]);
    assert.deepEqual(both.map((b) => b.asset_id), [PLAIN.yes, PLAIN.no]);
});

await check("tick size, neg-risk, fee rate, fee exponent", async () => {
    const c = client();
    for (const market of Object.values(MARKETS)) {
        assert.equal(await c.getTickSize(market.yes), market.tick);
        assert.equal(await c.getNegRisk(market.yes), market.neg_risk);
    }
    assert.equal(await c.getFeeRateBps(PLAIN.yes), 1000);
    assert.equal(await c.getFeeExponent(PLAIN.yes), 1);
});

await check("price, midpoint, spread, last trade, of one and of many", async () => {
    const c = client();
    const { yes, no } = PLAIN;
    assert.deepEqual(await c.getPrice(yes, "BUY"), { price: "0.49" });
    assert.deepEqual(await c.getPrice(yes, "SELL"), { price: "0.5" });
    assert.deepEqual(await c.getMidpoint(yes), { mid: "0.495" });
    assert.deepEqual(await c.getSpread(yes), { spread: "0.01" });
    assert.equal((await c.getLastTradePrice(yes)).price, "0.5");
    const both = [
        { token_id: yes, side: "BUY" },
        { token_id: yes, side: "SELL" },
        { token_id: no, side: "BUY" },
    ];
    assert.deepEqual(await c.getPrices(both), { [yes]: { BUY: "0.49", SELL: "0.5" }, [no]: { BUY: "0.5" } });
    assert.deepEqual(await c.getMidpoints([{ token_id: yes }]), { [yes]: "0.495" });
    assert.deepEqual(await c.getSpreads([{ token_id: yes }]), { [yes]: "0.01" });
    const last = await c.getLastTradesPrices([{ token_id: yes }, { token_id: no }]);
    assert.deepEqual(last.map((row) => row.price), ["0.5", "0.5"]);
});

await check("markets: one, its specification, lists", async () => {
    const c = client();
    const market = await c.getMarket(PLAIN.condition);
    assert.deepEqual(market.tokens.map((t) => t.token_id), [PLAIN.yes, PLAIN.no]);
    assert.ok(market.minimum_tick_size === 0.01 && market.accepting_orders);
    assert.deepEqual((await c.getClobMarketInfo(PLAIN.condition)).fd, { r: 0.05, e: 1, to: true });
    const pages = [c.getMarkets(), c.getSimplifiedMarkets(), c.getSamplingMarkets(), c.getSamplingSimplifiedMarkets()];
    for (const page of await Promise.all(pages)) {
        assert.equal(page.next_cursor, "LTE=");
        assert.equal(page.data.length, Object.keys(MARKETS).length);
    }
});

const NAMES = { 0: "EOA", 1: "proxy", 2: "Safe", 3: "deposit wallet (POLY_1271)" };
for (const [number, name] of Object.entries(NAMES)) {
    await check(`${name}: GTC and GTD rest, FAK and FOK take, both sides`, async () => {
        const kind = Number(number);
        assert.equal(Object.values(SignatureTypeV2).includes(kind), true);
        const c = await trader(kind);
        const token = PLAIN.yes;
        const rests = await c.createAndPostOrder(limit(token, 0.4, 10, BUY));
        assert.ok(rests.success && rests.status === "live" && rests.errorMsg === "", JSON.stringify(rests));
        const gtd = await c.createAndPostOrder(limit(token, 0.41, 10, BUY, { expiration: now() + 600 }), {}, OrderType.GTD);
        assert.equal(gtd.status, "live");
        const fak = await c.createAndPostMarketOrder(amount(token, 10, BUY, 0.52, OrderType.FAK), {}, OrderType.FAK);
        // The client follows the trade until its transaction is known.
        assert.ok(fak.status === "matched" && fak.transactionsHashes.length === 1, JSON.stringify(fak));
        assert.ok(Number(fak.makingAmount) <= 10 && Number(fak.takingAmount) >= 10 / 0.52, "at a better price");
        const fok = await c.createAndPostMarketOrder(amount(token, 5, BUY, 0.52, OrderType.FOK));
        assert.equal(fok.status, "matched");
        const sell = await c.createAndPostMarketOrder(amount(token, 6, SELL, 0.4, OrderType.FAK), {}, OrderType.FAK);
        assert.ok(sell.status === "matched" && Number(sell.makingAmount) === 6, JSON.stringify(sell));
        const sold = await c.createAndPostMarketOrder(amount(token, 5, SELL, 0.4, OrderType.FOK));
        assert.equal(sold.status, "matched");
        const rest = await c.createAndPostOrder(limit(token, 0.6, 5, SELL));
        assert.equal(rest.status, "live");
        const order = await c.getOrder(rests.orderID);
        const wallet = (WALLETS[kind] ?? new Wallet(KEYS[kind]).address).toLowerCase();
        assert.ok(order.maker_address.toLowerCase() === wallet && order.status === "LIVE", JSON.stringify(order));
        assert.equal((await c.cancelAll()).canceled.length, 3);
    });
}

await check("a market order at a price of the client's own finding", async () => {
    const c = await trader();
    const order = { tokenID: PLAIN.yes, amount: 3, side: BUY, orderType: OrderType.FOK };
    assert.equal((await c.createAndPostMarketOrder({ ...order })).status, "matched");
    const less = await c.createAndPostMarketOrder({ ...order, userUSDCBalance: 2 });
    assert.ok(Number(less.makingAmount) < 2, "the fee is left over");
});

await check("neg-risk exchange", async () => {
    const c = await trader();
    const taken = await c.createAndPostOrder(limit(MARKETS.neg_risk.yes, 0.5, 10, BUY));
    assert.equal(taken.status, "matched");
});

await check("Exchange V3", async () => {
    const c = await trader();
    const token = MARKETS.v3.yes;
    const taken = await c.createAndPostOrder(limit(token, 0.5, 10, BUY), { version: 3, negRisk: false });
    assert.equal(taken.status, "matched");
    await refused("order_version_mismatch", () => c.createAndPostOrder(limit(token, 0.4, 10, BUY)));
});

await check("every tick, both sides, amounts as the client rounds them", async () => {
    const c = await trader();
    for (const name of ["tick_1", "tick_005", "tick_0025", "tick_001", "tick_0001"]) {
        const market = MARKETS[name];
        const tick = Number(market.tick);
        const bought = await c.createAndPostOrder(limit(market.yes, 0.5 + tick, 7.77, BUY));
        assert.equal(bought.status, "matched", name);
        const sell = amount(market.yes, 5.55, SELL, 0.5 - 2 * tick, OrderType.FAK);
        assert.equal((await c.createAndPostMarketOrder(sell, {}, OrderType.FAK)).status, "matched", name);
        const buy = amount(market.yes, 3.33, BUY, 0.5 + 2 * tick, OrderType.FAK);
        assert.equal((await c.createAndPostMarketOrder(buy, {}, OrderType.FAK)).status, "matched", name);
    }
    // A client that believes in a finer tick than the market has.
    const finer = { tickSize: "0.001", negRisk: false };
    const order = await c.orderBuilder.buildOrder(limit(PLAIN.yes, 0.405, 10, BUY), finer, 2);
    await refused("Price (0.405) breaks minimum tick size rule: 0.01", () => c.postOrder(order));
});

await check("post-only, and a repeat of the same order", async () => {
    const c = await trader();
    await refused("invalid post-only order: order crosses book", () =>
        c.createAndPostOrder(limit(PLAIN.yes, 0.5, 10, BUY), {}, OrderType.GTC, true),
    );
    const order = await c.createOrder(limit(PLAIN.yes, 0.3, 10, BUY));
    const posted = await c.postOrder(order, OrderType.GTC, true);
    assert.equal(posted.status, "live");
    await refused(`order ${posted.orderID} is invalid. Duplicated.`, () => c.postOrder(order));
    await c.cancelOrder({ orderID: posted.orderID });
});

await check("a batch, each entry by itself", async () => {
    const c = await trader();
    const args = [];
    for (const [price, size] of [[0.3, 10], [0.3, 1], [0.5, 10]]) {
        args.push({ order: await c.createOrder(limit(PLAIN.yes, price, size, BUY)), orderType: OrderType.GTC });
    }
    const [rests, small, takes] = await c.postOrders(args);
    assert.ok(rests.status === "live" && takes.status === "matched", JSON.stringify([rests, takes]));
    assert.ok(small.orderID === "" && small.errorMsg.includes("lower than the minimum: 5"), JSON.stringify(small));
    await refused("Too many orders in payload: 16, max allowed: 15", () => c.postOrders(Array(16).fill(args[0])));
    await c.cancelAll();
});

await check("refusals in the venue's words", async () => {
    const c = await trader();
    const token = PLAIN.yes;
    await refused("lower than the minimum: 5", () => c.createAndPostOrder(limit(token, 0.4, 4, BUY)));
    await refused("not enough balance / allowance", () => c.createAndPostOrder(limit(token, 0.4, 1e6, BUY)));
    await refused("min size: $1", () =>
        c.createAndPostMarketOrder(amount(token, 0.5, BUY, 0.6, OrderType.FAK), {}, OrderType.FAK),
    );
    await refused("FOK orders are fully filled or killed", () =>
        c.createAndPostMarketOrder(amount(token, 9000, BUY, 0.51, OrderType.FOK)),
    );
    await refused("no orders found to match with FAK order", () =>
        c.createAndPostMarketOrder(amount(token, 5, BUY, 0.2, OrderType.FAK), {}, OrderType.FAK),
    );
    await refused("invalid expiration", () =>
        c.createAndPostOrder(limit(token, 0.4, 10, BUY, { expiration: now() + 60 }), {}, OrderType.GTD),
    );
    const stranger = await trader();
    stranger.creds = { ...stranger.creds, secret: "AAAA" };
    await refused("Unauthorized/Invalid api key", () => stranger.getOpenOrders(), 401);
});

await check("orders: by id, live ones by market and token, page by page", async () => {
    const c = await trader(1);
    const made = [];
    for (let n = 0; n < 7; n += 1) {
        const batch = [];
        for (let m = 0; m < 15; m += 1) {
            batch.push({ order: await c.createOrder(limit(PLAIN.yes, 0.1, 5, BUY)), orderType: OrderType.GTC });
        }
        made.push(...(await c.postOrders(batch)).map((answer) => answer.orderID));
        // Forty orders a second are one signer's.
        await sleep(400);
    }
    assert.equal(new Set(made).size, 105);
    const other = (await c.createAndPostOrder(limit(MARKETS.neg_risk.no, 0.1, 5, BUY))).orderID;
    const all = (await c.getOpenOrders()).map((o) => o.id);
    assert.deepEqual(new Set(all), new Set([...made, other]), "two pages");
    assert.equal((await c.getOpenOrders({}, true)).length, 100);
    const ofMarket = await c.getOpenOrders({ market: MARKETS.neg_risk.condition });
    assert.deepEqual(ofMarket.map((o) => o.id), [other]);
    assert.deepEqual((await c.getOpenOrders({ id: other })).map((o) => o.id), [other]);
    assert.equal((await c.getOpenOrders({ asset_id: PLAIN.yes })).length, 105);
    const row = await c.getOrder(other);
    assert.deepEqual([row.original_size, row.size_matched, row.price], ["5", "0", "0.1"]);
    await refused("order not found", () => c.getOrder(`0x${"00".repeat(32)}`), 404);
});

await check("cancel one, many, a market's, all, and what was not cancelled", async () => {
    const c = await trader(1);
    const yes = await c.getOpenOrders({ asset_id: PLAIN.yes });
    const [one, ...many] = yes.slice(0, 21).map((o) => o.id);
    assert.deepEqual((await c.cancelOrder({ orderID: one })).canceled, [one]);
    const again = await c.cancelOrders([one, ...many]);
    assert.deepEqual(new Set(again.canceled), new Set(many));
    assert.deepEqual(again.not_canceled, { [one]: "Order not found or already canceled" });
    assert.equal((await c.cancelMarketOrders({ market: MARKETS.neg_risk.condition })).canceled.length, 1);
    assert.equal((await c.cancelMarketOrders({ asset_id: PLAIN.yes })).canceled.length, 84);
    const matched = (await c.createAndPostOrder(limit(PLAIN.yes, 0.5, 5, BUY))).orderID;
    const left = await c.cancelOrder({ orderID: matched });
    assert.deepEqual(left.not_canceled, { [matched]: "Order already matched" });
    assert.deepEqual(await c.cancelAll(), { canceled: [], not_canceled: {} });
    assert.deepEqual(await c.getOpenOrders(), []);
});

await check("trades: by every filter, and until they are confirmed", async () => {
    const c = await trader(2);
    const before = now() - 1;
    const placed = await c.createAndPostOrder(limit(PLAIN.no, 0.55, 6, BUY));
    const [id] = placed.tradeIDs;
    for (const filters of [
        { id },
        { asset_id: PLAIN.no, after: String(before) },
        { market: PLAIN.condition, before: String(now() + 60) },
        { maker_address: WALLETS[2] },
    ]) {
        assert.ok((await c.getTrades(filters)).some((t) => t.id === id), JSON.stringify(filters));
    }
    assert.deepEqual(await c.getTrades({ after: String(now() + 60) }), []);
    const page = await c.getTradesPaginated({ id });
    assert.ok(page.next_cursor === "LTE=" && page.count === 1, JSON.stringify(page));
    let trade;
    for (let n = 0; n < 40; n += 1) {
        [trade] = await c.getTrades({ id });
        if (trade.status === "CONFIRMED") break;
        await sleep(100);
    }
    assert.ok(trade.status === "CONFIRMED" && trade.transaction_hash.startsWith("0x"), JSON.stringify(trade));
    assert.ok(trade.taker_order_id === placed.orderID && trade.trader_side === "TAKER");
});

await check("balance and allowance", async () => {
    const c = await trader(2);
    const dollars = await c.getBalanceAllowance({ asset_type: AssetType.COLLATERAL });
    assert.ok(Number(dollars.balance) > 0 && Number(dollars.balance) < 10_000e6, JSON.stringify(dollars));
    assert.equal(Object.keys(dollars.allowances).length, 3);
    const shares = await c.getBalanceAllowance({ asset_type: AssetType.CONDITIONAL, token_id: PLAIN.no });
    assert.equal(Number(shares.balance), 6e6);
    await c.updateBalanceAllowance({ asset_type: AssetType.COLLATERAL });
});

await check("heartbeats", async () => {
    const c = await trader();
    const first = (await c.postHeartbeat()).heartbeat_id;
    const second = (await c.postHeartbeat(first)).heartbeat_id;
    await refused(second, () => c.postHeartbeat(first));
    const third = (await c.postHeartbeat(second)).heartbeat_id;
    assert.ok(third && third !== first && third !== second);
});

const c = await trader();
const day = "2026-10-01";
const nobody = `0x${"00".repeat(32)}`;
await gap("price history", () => c.getPricesHistory({ market: PLAIN.yes, interval: "1d" }));
await gap("live activity of a market", () => c.getMarketTradesEvents(PLAIN.condition));
await gap("orders from before the migration", () => c.getPreMigrationOrders());
await gap("order scoring", () => c.isOrderScoring({ order_id: nobody }));
await gap("order scoring, of many", () => c.areOrdersScoring({ orderIds: [nobody] }));
await gap("notifications", () => c.getNotifications());
await gap("notifications, dropped", () => c.dropNotifications());
await gap("read-only keys: made", () => c.createReadonlyApiKey());
await gap("read-only keys: listed", () => c.getReadonlyApiKeys());
await gap("read-only keys: deleted", () => c.deleteReadonlyApiKey("key"));
await gap("builder keys: made", () => c.createBuilderApiKey());
await gap("builder keys: listed", () => c.getBuilderApiKeys());
await gap("builder keys: revoked", () => c.revokeBuilderApiKey());
await gap("builder trades", () => c.getBuilderTrades({ builder_code: `0x${"11".repeat(32)}` }));
await gap("rewards: current", () => c.getCurrentRewards());
await gap("rewards: of a market", () => c.getRawRewardsForMarket(PLAIN.condition));
await gap("rewards: earnings of a day", () => c.getEarningsForUserForDay(day));
await gap("rewards: total earnings of a day", () => c.getTotalEarningsForUserForDay(day));
await gap("rewards: percentages", () => c.getRewardPercentages());
await gap("rewards: earnings and markets", () => c.getUserEarningsAndMarketsConfig(day));
