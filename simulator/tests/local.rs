//! The ports without a socket answer as those over HTTP.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail their test")]

mod common;

use common::*;
use schemas::{ConditionId, MarketVersion, Side, SignatureType};
use simulator::Fault;
use venue::{
    http::{Endpoints, PublicData},
    outcome::SubmitOutcome,
    port::{
        ActivityQuery, BalanceOf, Exchange, MarketData, OpenOrdersQuery, OwnTradesQuery, PositionsQuery,
        TradesQuery,
    },
};

async fn market_data(of: &dyn MarketData, stage: &Stage) -> Vec<String> {
    let (now, user) = (stage.now(), LEADER.parse().unwrap());
    let condition: ConditionId = CONDITION.parse().unwrap();
    let unknown = ConditionId::from_bytes([9; 32]);
    let trades = TradesQuery { user, limit: 2, cursor: None, start: None, end: None };
    let activity =
        ActivityQuery { user, kinds: vec![], limit: 2, cursor: None, start: Some(START), end: None };
    let positions = PositionsQuery { user, status: None, condition: Some(condition), limit: 5, cursor: None };
    let first = of.trades(&trades, now).await.unwrap();
    let next = TradesQuery { cursor: first.pagination.next_cursor.clone(), ..trades };
    assert!(next.cursor.is_some());
    vec![
        format!("{first:?}"),
        format!("{:?}", of.trades(&next, now).await.unwrap()),
        format!("{:?}", of.activity(&activity, now).await.unwrap()),
        format!("{:?}", of.positions(&positions, now).await.unwrap()),
        format!("{:?}", of.resolution(condition, now).await.unwrap()),
        format!("{:?}", of.resolution(unknown, now).await.unwrap()),
        format!("{:?}", of.markets(&[condition, unknown]).await.unwrap()),
        format!("{:?}", of.clob_market(condition).await.unwrap()),
        format!("{:?}", of.clob_market(unknown).await.unwrap()),
        format!("{:?}", of.book(&YES.parse().unwrap()).await.unwrap()),
        format!("{:?}", of.book(&"12".parse().unwrap()).await.unwrap()),
    ]
}

async fn exchange(of: &dyn Exchange, stage: &Stage, trader: &mut Trader) -> Vec<String> {
    let now = stage.now();
    let taking = trader.limit(Side::Buy, "0.50", "10");
    let resting = trader.limit(Side::Buy, "0.30", "10");
    let lost = trader.limit(Side::Buy, "0.30", "20");
    let creds = &trader.creds;
    let mut said = Vec::new();
    for order in [&taking, &taking, &resting] {
        said.push(format!("{:?}", of.post_order(&order.body, order.id, creds, now).await));
    }
    stage.simulator.handle().fault(Fault::accepted_then_dropped());
    let outcome = of.post_order(&lost.body, lost.id, creds, now).await;
    assert!(matches!(outcome, SubmitOutcome::Unknown { .. }), "{outcome:?}");
    stage.simulator.handle().fault(Fault::rate_limited(Some(3)));
    said.push(format!("{:?}", of.post_order(&lost.body, lost.id, creds, now).await));
    let open = of.open_orders(&OpenOrdersQuery::default(), creds, now).await.unwrap();
    said.push(open.data.iter().map(|o| o.original_size.to_string()).collect::<Vec<_>>().join(" "));
    said.push(format!("{:?}", of.cancel(resting.id, creds, now).await));
    said.push(format!("{:?}", of.cancel(taking.id, creds, now).await));
    said.push(format!("{:?}", of.order(lost.id, creds, now).await).contains("Live").to_string());
    let trades = of.own_trades(&OwnTradesQuery::default(), creds, now).await.unwrap();
    said.push(trades.data.iter().map(|t| format!("{} at {}", t.size, t.price)).collect::<Vec<_>>().join(" "));
    let token = BalanceOf::Token { asset: YES.parse().unwrap(), version: MarketVersion::V1 };
    for balance in [BalanceOf::Collateral, token] {
        let balance = of.balance_allowance(&balance, SignatureType::Eoa, creds, now).await.unwrap();
        said.push(format!("{balance:?}"));
    }
    // Ids differ between the two traders; everything else must not.
    said.into_iter()
        .map(|s| s.replace(&taking.id.to_string(), "T").replace(&resting.id.to_string(), "R"))
        .collect()
}

#[tokio::test]
async fn the_ports_answer_alike_with_and_without_a_socket() {
    let prints: Vec<P> = vec![
        (0, "BUY", true, "100", "0.5"),
        (1, "BUY", false, "30.5", "0.5"),
        (2, "SELL", true, "50", "0.49"),
        (3, "BUY", true, "100", "0.5"),
        (900, "BUY", true, "1", "0.5"),
    ];
    let stage = Stage::new(&prints).await;
    stage.advance(4);
    let http = PublicData::new(&Endpoints::all_at(&stage.simulator.base_url), patience()).unwrap();
    let local = stage.simulator.handle().local();
    assert_eq!(market_data(&local, &stage).await, market_data(&http, &stage).await);

    let (mut one, mut two) = (stage.trader(1).await, stage.trader(2).await);
    let without_trade_ids = |said: Vec<String>| -> Vec<String> {
        said.into_iter().map(|s| s.split("trade_ids").next().unwrap_or_default().to_owned()).collect()
    };
    let without = without_trade_ids(exchange(&local, &stage, &mut one).await);
    assert_eq!(without, without_trade_ids(exchange(&stage.clob, &stage, &mut two).await));
    assert!(without[0].contains("Accepted") && without[1].contains("AlreadyLanded"), "{without:#?}");
}
