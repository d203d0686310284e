//! A venue under a virtual clock, with a tape of one's own, and a trader who signs.
#![allow(dead_code, reason = "not every test file uses every helper")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a helper of tests fails its test"
)]

use std::{path::Path, sync::Arc, time::Duration};

use runtime::VirtualClock;
use schemas::{Address, AssetId, OrderId, Price, Shares, SignatureType, Tick, Timestamp, Usdc, keccak256};
use simulator::{Builder, Options, Prints, Simulator, TapeOptions};
use venue::{
    http::{Clob, HttpSettings},
    order::{OrderRequest, SignedBody, Terms, TradingWallet, build},
    signing::{ApiCreds, ExchangeTable, LocalSigner, Route, l2_headers},
};

pub const START: Timestamp = Timestamp::from_secs(1_790_000_000);
pub const CONDITION: &str = "0x3babdbeccd1b2ff90547d2789e605f8c55067b4a411b1fb47b92b0fbcc8d5696";
/// The first outcome of the tape's market; [`NO`] is the other.
pub const YES: &str = "7000000000000000000000001";
pub const NO: &str = "7000000000000000000000002";
pub const LEADER: &str = "0x1111111111111111111111111111111111111111";

/// One print of the tape: seconds after the start, side, outcome, size, price.
pub type P = (i64, &'static str, bool, &'static str, &'static str);

/// A tape of these prints, beginning at recorded second 1,700,000,000.
pub fn tape_text(prints: &[P]) -> String {
    let rows = prints.iter().enumerate().map(|(n, (second, side, yes, size, price))| {
        let (token, outcome, index) = if *yes { (YES, "Yes", 0) } else { (NO, "No", 1) };
        serde_json::json!({
            "proxyWallet": LEADER, "side": side, "asset": token, "conditionId": CONDITION,
            "size": size, "price": price, "timestamp": 1_700_000_000 + second,
            "outcome": outcome, "outcomeIndex": index, "slug": "a-market", "title": "A market",
            "transactionHash": format!("0x{:064x}", n + 1),
        })
        .to_string()
    });
    rows.collect::<Vec<_>>().join("\n")
}

/// Gamma's row of that market.
pub fn gamma_row(tick: &str, neg_risk: bool, fee_rate: &str) -> String {
    format!(
        "{{\"id\":\"77\",\"conditionId\":\"{CONDITION}\",\"question\":\"A market\",\"slug\":\"a-market\",\
         \"clobTokenIds\":\"[\\\"{YES}\\\", \\\"{NO}\\\"]\",\"outcomes\":\"[\\\"Yes\\\", \\\"No\\\"]\",\
         \"orderPriceMinTickSize\":{tick},\"orderMinSize\":5,\"negRisk\":{neg_risk},\"feesEnabled\":true,\
         \"feeSchedule\":{{\"rate\":{fee_rate},\"exponent\":1,\"takerOnly\":true}}}}\n"
    )
}

/// A simulator of a tape, under a virtual clock.
pub struct Stage {
    pub simulator: Simulator,
    pub clock: VirtualClock,
    pub clob: Clob,
    pub dir: tempfile::TempDir,
}

/// The book stands at 0.50: the last print bought 100 at it.
pub const QUIET: [P; 2] = [(0, "BUY", true, "100", "0.5"), (100_000, "BUY", true, "1", "0.5")];

impl Stage {
    pub async fn new(prints: &[P]) -> Self {
        Self::with(prints, &gamma_row("0.01", false, "0.05"), |o| o).await
    }

    pub async fn with(prints: &[P], gamma: &str, change: impl FnOnce(Options) -> Options) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = change(options(dir.path(), prints, gamma));
        let clock = VirtualClock::at(START);
        let simulator = builder(options, &clock).start().await.unwrap();
        let clob = Clob::new(&simulator.base_url, patience()).unwrap();
        Self { simulator, clock, clob, dir }
    }

    pub fn now(&self) -> Timestamp {
        use runtime::Clock as _;
        self.clock.now()
    }

    pub fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// A trader of an externally owned account.
    pub async fn trader(&self, seed: u8) -> Trader {
        self.trader_of(seed, SignatureType::Eoa).await
    }

    pub async fn trader_of(&self, seed: u8, kind: SignatureType) -> Trader {
        let signer = signer(seed);
        let table = ExchangeTable::default();
        let creds = self.clob.api_key(&signer, self.now(), 0, table.chain_id).await.unwrap();
        let funder = match kind {
            SignatureType::Eoa => signer.address(),
            _ => Address::from_bytes([seed; 20]),
        };
        let wallet = TradingWallet::new(kind, funder, signer.address(), creds.key()).unwrap();
        Trader { signer, creds, wallet, route: Route::Normal, tick: Tick::CENT, salt: 0 }
    }

    /// Posts bytes as they are, signed for; the status and the JSON of the answer.
    pub async fn post_raw(&self, creds: &ApiCreds, body: &[u8]) -> reqwest::Result<(u16, serde_json::Value)> {
        let mut request = client().post(format!("{}/order", self.simulator.base_url)).body(body.to_vec());
        for (name, value) in l2_headers(creds, self.now(), "POST", "/order", body).unwrap() {
            use secrecy::ExposeSecret as _;
            request = request.header(name, value.expose_secret());
        }
        let answer = request.send().await?;
        let status = answer.status().as_u16();
        let text = answer.text().await?;
        Ok((status, serde_json::from_str(&text).unwrap_or(serde_json::Value::Null)))
    }

    /// Posts an order; the status and the answer.
    pub async fn post(&self, trader: &Trader, order: &SignedBody) -> (u16, serde_json::Value) {
        self.post_raw(&trader.creds, &order.body).await.unwrap()
    }

    /// Posts an order that must be refused; the venue's words.
    pub async fn refused(&self, trader: &Trader, order: &SignedBody) -> String {
        let (status, answer) = self.post(trader, order).await;
        assert_eq!(status, 400, "{answer}");
        answer["error"].as_str().unwrap().to_owned()
    }

    pub async fn get(&self, path: &str) -> serde_json::Value {
        get(&self.simulator.base_url, path).await
    }

    /// A private request, signed for.
    pub async fn call(&self, creds: &ApiCreds, method: &str, path: &str, body: &str) -> Answered {
        let method: reqwest::Method = method.parse().unwrap();
        let url = format!("{}{path}", self.simulator.base_url);
        let mut request = client().request(method.clone(), url).body(body.to_owned());
        for (name, value) in l2_headers(creds, self.now(), method.as_str(), path, body.as_bytes()).unwrap() {
            use secrecy::ExposeSecret as _;
            request = request.header(name, value.expose_secret());
        }
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let text = answer.text().await.unwrap();
        Answered { status, headers, json: serde_json::from_str(&text).unwrap_or_default() }
    }

    /// Posts orders as a batch.
    pub async fn batch(&self, trader: &Trader, orders: &[&SignedBody]) -> Answered {
        let bodies: Vec<&str> = orders.iter().map(|o| std::str::from_utf8(&o.body).unwrap()).collect();
        self.call(&trader.creds, "POST", "/orders", &format!("[{}]", bodies.join(","))).await
    }
}

/// What a private request was answered.
pub struct Answered {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub json: serde_json::Value,
}

impl Answered {
    pub fn header(&self, name: &str) -> String {
        self.headers.get(name).map(|v| v.to_str().unwrap().to_owned()).unwrap_or_default()
    }

    pub fn words(&self) -> &str {
        self.json["error"].as_str().unwrap_or_default()
    }
}

pub fn options(dir: &Path, prints: &[P], gamma: &str) -> Options {
    let (tape, markets) = (dir.join("tape.jsonl"), dir.join("markets.jsonl"));
    std::fs::write(&tape, tape_text(prints)).unwrap();
    std::fs::write(&markets, gamma).unwrap();
    let tape = TapeOptions { markets: Some(markets), ..TapeOptions::new(tape) };
    Options { prints: Prints::Tape(tape), ..Options::default() }
}

pub fn builder(options: Options, clock: &VirtualClock) -> Builder {
    Simulator::builder().options(options).clock(Arc::new(clock.clone()))
}

pub fn patience() -> HttpSettings {
    HttpSettings { timeout: Duration::from_secs(5), ..HttpSettings::default() }
}

pub fn signer(seed: u8) -> LocalSigner {
    LocalSigner::from_hex(&keccak256(&[b"test key", &[seed]]).to_string()).unwrap()
}

pub fn client() -> reqwest::Client {
    // An error only says that the process has a provider already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5)).build().unwrap()
}

pub async fn get(base: &str, path: &str) -> serde_json::Value {
    let text = client().get(format!("{base}{path}")).send().await.unwrap().text().await.unwrap();
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{path}: {e}: {text}"))
}

/// Who signs orders.
pub struct Trader {
    pub signer: LocalSigner,
    pub creds: ApiCreds,
    pub wallet: TradingWallet,
    pub route: Route,
    pub tick: Tick,
    pub salt: u64,
}

impl Trader {
    pub fn order(&mut self, yes: bool, terms: Terms) -> SignedBody {
        self.salt += 1;
        let asset: AssetId = if yes { YES } else { NO }.parse().unwrap();
        let request = OrderRequest {
            route: self.route,
            asset,
            tick: self.tick,
            terms,
            salt: self.salt,
            timestamp: START,
        };
        build(&request, &self.wallet, &ExchangeTable::default(), &self.signer).unwrap()
    }

    /// A GTD that ends ten minutes after the start.
    pub fn limit(&mut self, side: schemas::Side, price: &str, shares: &str) -> SignedBody {
        self.order(true, limit(side, price, shares))
    }

    pub fn buy_for(&mut self, price: &str, usdc: &str) -> SignedBody {
        self.order(true, market_buy(price, usdc, false))
    }

    pub fn sell_now(&mut self, price: &str, shares: &str) -> SignedBody {
        let terms = Terms::MarketSell { limit: p(price), shares: s(shares), all_or_nothing: false };
        self.order(true, terms)
    }
}

pub fn limit(side: schemas::Side, price: &str, shares: &str) -> Terms {
    Terms::Limit {
        side,
        price: p(price),
        shares: s(shares),
        expires: Some(START.plus(Duration::from_secs(600))),
        post_only: false,
    }
}

pub fn market_buy(price: &str, usdc: &str, all_or_nothing: bool) -> Terms {
    Terms::MarketBuy { limit: p(price), usdc: usdc.parse::<Usdc>().unwrap(), all_or_nothing }
}

pub fn p(text: &str) -> Price {
    text.parse().unwrap()
}

pub fn s(text: &str) -> Shares {
    text.parse().unwrap()
}

pub fn id_of(answer: &serde_json::Value) -> OrderId {
    answer["orderID"].as_str().unwrap().parse().unwrap()
}
