//! Every text of the venue's errors can be met: by the rule behind it, or on demand where no rule of the
//! simulator leads to it. Each is read by our client as `venue.md` 5.5 wants it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail their test")]

mod common;

use std::{collections::BTreeSet, time::Duration};

use common::*;
use schemas::Side;
use simulator::{Fault, Mode, WalletChange, exchange::Standing};
use venue::{
    order::{SignedBody, Terms},
    outcome::SubmitOutcome,
    port::Exchange as _,
    signing::Route,
    wire::PostOrder,
};

/// The texts, as far as they do not vary, with their status and what our client makes of them.
const WORDS: [(u16, &str, Read); 35] = [
    (400, "Invalid order payload", Read::Rejected),
    (400, "the order owner has to be the owner of the API KEY", Read::Rejected),
    (400, "the order signer address has to be the address of the API KEY", Read::Rejected),
    (400, " address banned", Read::Rejected),
    (400, " address in closed only mode", Read::Rejected),
    (400, "Too many orders in payload: 16, max allowed: 15", Read::Rejected),
    (400, "invalid post-only order: order crosses book", Read::Rejected),
    (400, "breaks minimum tick size rule: 0.01", Read::Rejected),
    (400, "lower than the minimum: 5", Read::Rejected),
    (400, "is invalid. Duplicated.", Read::Landed),
    (400, "crosses the book", Read::Rejected),
    (400, "not enough balance / allowance", Read::Rejected),
    (400, "invalid expiration", Read::Rejected),
    (400, "order canceled in the CTF exchange contract", Read::Rejected),
    (400, "order match delayed due to market conditions", Read::Unknown),
    (400, "order couldn't be fully filled. FOK orders are fully filled or killed.", Read::Rejected),
    (
        400,
        "no orders found to match with FAK order. FAK orders are partially filled or killed if no match is found.",
        Read::Rejected,
    ),
    (400, "the market is not yet ready to process new orders", Read::Rejected),
    (400, " does not exist", Read::Rejected),
    (400, "order_version_mismatch", Read::Rejected),
    (
        400,
        "invalid amounts, the buy orders maker amount supports a max accuracy of 4 decimals, taker amount a max of \
         2 decimals",
        Read::Rejected,
    ),
    (
        400,
        "the market buy orders maker amount supports a max accuracy of 2 decimals, taker amount a max of 5 decimals",
        Read::Rejected,
    ),
    (400, "invalid amount for a marketable BUY order ($0.7), min size: $1", Read::Rejected),
    (400, "context canceled", Read::Unknown),
    (401, "Unauthorized/Invalid api key", Read::Rejected),
    (403, "Trading restricted in your region", Read::Rejected),
    (404, "market not found", Read::Rejected),
    (425, "service not ready", Read::Later),
    (429, "rate limit exceeded", Read::Later),
    (500, "order timed out", Read::Unknown),
    (500, "could not insert order", Read::Unknown),
    (500, "there are no matching orders", Read::Unknown),
    (500, "the trade contains rounding issues", Read::Unknown),
    (503, "Trading is currently disabled", Read::Later),
    (503, "cancel-only", Read::Later),
];

/// What our client makes of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Read {
    Rejected,
    Landed,
    Unknown,
    Later,
}

/// What was said on the way to here: status and words.
#[derive(Default)]
struct Heard(Vec<(u16, String, Read)>);

impl Heard {
    /// Posts an order and keeps what is said to it.
    async fn post(&mut self, stage: &Stage, trader: &Trader, order: &SignedBody) {
        self.body(stage, trader, order, &order.body).await;
    }

    async fn body(&mut self, stage: &Stage, trader: &Trader, order: &SignedBody, body: &[u8]) {
        let answer = stage.call(&trader.creds, "POST", "/order", std::str::from_utf8(body).unwrap()).await;
        let raw = serde_json::to_vec(&answer.json).unwrap();
        let answered = venue::outcome::Answer { status: answer.status, retry_after: None, body: raw };
        let read = match venue::outcome::of_submit(&answered, order.id) {
            SubmitOutcome::Rejected { .. } => Read::Rejected,
            SubmitOutcome::AlreadyLanded => Read::Landed,
            SubmitOutcome::Unknown { .. } => Read::Unknown,
            SubmitOutcome::RetryLater { .. } => Read::Later,
            SubmitOutcome::Accepted(accepted) => panic!("{accepted:?}"),
        };
        self.0.push((answer.status, answer.words().to_owned(), read));
    }

    fn missing(&self) -> Vec<&'static str> {
        let met = |(status, words, read): &(u16, &str, Read)| {
            self.0.iter().any(|(s, w, r)| s == status && w.contains(words) && r == read)
        };
        WORDS.iter().filter(|known| !met(known)).map(|(_, words, _)| *words).collect()
    }
}

fn gtc(side: Side, price: &str, shares: &str, post_only: bool) -> Terms {
    Terms::Limit { side, price: p(price), shares: s(shares), expires: None, post_only }
}

#[tokio::test]
async fn every_text_of_the_venues_errors_can_be_met() {
    let stage = Stage::new(&QUIET).await;
    let handle = stage.simulator.handle();
    let mut trader = stage.trader(1).await;
    let mut heard = Heard::default();

    // By their rules.
    let fine = trader.order(true, gtc(Side::Buy, "0.40", "10", false));
    heard.body(&stage, &trader, &fine, b"{}").await;
    let edit = |change: &dyn Fn(&mut PostOrder)| {
        let mut post: PostOrder = serde_json::from_slice(&fine.body).unwrap();
        change(&mut post);
        serde_json::to_vec(&post).unwrap()
    };
    heard.body(&stage, &trader, &fine, &edit(&|post| post.owner = "another".to_owned())).await;
    let elsewhere = signer(9).address();
    heard.body(&stage, &trader, &fine, &edit(&|post| post.order.signer.0 = elsewhere)).await;
    assert_eq!(stage.post(&trader, &fine).await.0, 200);
    heard.post(&stage, &trader, &fine).await;
    for standing in [Standing::Banned, Standing::ClosedOnly, Standing::Good] {
        let change = WalletChange { standing: Some(standing), ..WalletChange::of(trader.wallet.maker()) };
        handle.wallet(&change).await.unwrap();
        if standing != Standing::Good {
            let order = trader.order(true, gtc(Side::Buy, "0.40", "10", false));
            heard.post(&stage, &trader, &order).await;
        }
    }
    let many: Vec<_> = (0..16).map(|_| trader.order(true, gtc(Side::Buy, "0.10", "5", false))).collect();
    let batch = stage.batch(&trader, &many.iter().collect::<Vec<_>>()).await;
    heard.0.push((batch.status, batch.words().to_owned(), Read::Rejected));
    for order in [
        trader.order(true, gtc(Side::Buy, "0.50", "10", true)),
        trader.order(true, gtc(Side::Buy, "0.40", "4", false)),
        trader.order(true, gtc(Side::Buy, "0.40", "90000", false)),
        trader.order(true, market_buy("0.50", "9000", true)),
        trader.order(true, market_buy("0.20", "10", false)),
        trader.order(true, market_buy("0.50", "0.7", false)),
        trader.order(
            true,
            Terms::Limit {
                side: Side::Buy,
                price: p("0.40"),
                shares: s("10"),
                expires: Some(START.plus(Duration::from_secs(100))),
                post_only: false,
            },
        ),
    ] {
        heard.post(&stage, &trader, &order).await;
    }
    trader.tick = schemas::Tick::from_micro(1_000).unwrap();
    let off = trader.order(true, gtc(Side::Buy, "0.405", "10", false));
    heard.post(&stage, &trader, &off).await;
    // 10.01 x 0.405 = 4.05405: five decimals.
    let fine_amounts = trader.order(true, gtc(Side::Buy, "0.405", "10.01", false));
    heard.post(&stage, &trader, &fine_amounts).await;
    trader.tick = schemas::Tick::from_micro(100).unwrap();
    // $1.11 at 0.4001 is 2.774306 shares: six decimals.
    let fine_shares = trader.order(true, market_buy("0.4001", "1.11", false));
    heard.post(&stage, &trader, &fine_shares).await;
    trader.tick = schemas::Tick::CENT;
    trader.route = Route::NegRisk;
    let other_exchange = trader.order(true, gtc(Side::Buy, "0.40", "10", false));
    heard.post(&stage, &trader, &other_exchange).await;
    trader.route = Route::Normal;
    let mut unknown = trader.order(true, gtc(Side::Buy, "0.40", "10", false));
    unknown.body = String::from_utf8(unknown.body).unwrap().replace(YES, "123456").into_bytes();
    heard.post(&stage, &trader, &unknown).await;
    let good = trader.order(true, gtc(Side::Buy, "0.40", "10", false));
    let creds = venue::signing::ApiCreds::new(
        trader.creds.address(),
        trader.creds.key(),
        "AAAA".into(),
        trader.creds.passphrase().clone(),
    );
    let stranger = Trader { creds: creds.unwrap(), ..stage.trader(1).await };
    heard.post(&stage, &stranger, &good).await;
    handle.switch(|s| s.region_restricted = true);
    heard.post(&stage, &trader, &good).await;
    handle.switch(|s| s.region_restricted = false);
    for mode in [Mode::Restarting, Mode::CancelOnly, Mode::Disabled] {
        handle.mode(mode);
        heard.post(&stage, &trader, &good).await;
    }
    handle.mode(Mode::Open);

    // On demand.
    let by_rule = heard.missing();
    let demanded = [
        (400, "order 0x1 crosses the book"),
        (400, "order canceled in the CTF exchange contract"),
        (400, "order match delayed due to market conditions"),
        (400, "the market is not yet ready to process new orders"),
        (400, "context canceled"),
        (404, "market not found"),
        (429, "rate limit exceeded"),
        (500, "order timed out"),
        (500, "could not insert order"),
        (500, "there are no matching orders"),
        (500, "the trade contains rounding issues"),
    ];
    let words: BTreeSet<_> = by_rule.iter().map(|w| w.trim()).collect();
    let asked: BTreeSet<_> =
        demanded.iter().map(|(_, w)| w.strip_prefix("order 0x1 ").unwrap_or(w)).collect();
    assert_eq!(words, asked, "what no rule leads to is exactly what is demanded here");
    for (status, words) in demanded {
        handle.fault(Fault::says(status, words));
        heard.post(&stage, &trader, &good).await;
    }
    assert_eq!(heard.missing(), [] as [&str; 0]);
    assert!(
        stage.clob.post_order(&good.body, good.id, &trader.creds, stage.now()).await
            != SubmitOutcome::AlreadyLanded,
        "none of them landed"
    );
}
