//! Orders and trades in the venue's words, for their owner: rows of the CLOB's listings and frames of the
//! user stream.

use schemas::{OrderId, Shares, Side, Timestamp, keccak256};
use venue::wire::{
    ClobOrderStatus, ClobTrade, ClobTradeStatus, Literal, MakerOrder, OrderEventKind, OrderFrame, OrderRow,
    PlacedStatus, PostOrderAnswer, SizeUnits, TradeFrame, TradeFrameExtra, TraderSide, UserFrame,
};

use crate::{
    exchange::{News, Order, Step, Told, Trade, kills_rest},
    options::Switches,
    print::Role,
    world::World,
};

const fn units(switches: &Switches) -> SizeUnits {
    if switches.base_units { SizeUnits::Base } else { SizeUnits::Decimal }
}

/// What the answer to a post says of an order that was taken.
pub fn placed(order: &Order, trade_ids: Vec<String>, switches: &Switches) -> PostOrderAnswer {
    let (dollars, shares) = (Shares::from_micro(order.dollars.micro()), order.matched);
    let (making, taking) = match order.side {
        Side::Buy => (dollars, shares),
        Side::Sell => (shares, dollars),
    };
    let filled = order.matched.is_positive();
    let status = match order.state {
        ClobOrderStatus::Delayed => PlacedStatus::Delayed,
        _ if filled => PlacedStatus::Matched,
        _ => PlacedStatus::Live,
    };
    let write = |amount| match status {
        PlacedStatus::Delayed => Literal::new("0"),
        _ if filled => units(switches).write(amount),
        _ => Literal::default(),
    };
    let (making_amount, taking_amount) = (write(making), write(taking));
    PostOrderAnswer {
        success: true,
        error_msg: String::new(),
        order_id: order.id.to_string(),
        status,
        making_amount,
        taking_amount,
        trade_ids,
    }
}

/// The state that is shown of an order.
fn shown(order: &Order, switches: &Switches) -> ClobOrderStatus {
    let part_of_fak = order.state == ClobOrderStatus::Canceled
        && kills_rest(order.order_type)
        && order.matched.is_positive()
        && switches.partial_fak_matched;
    let state = if part_of_fak { ClobOrderStatus::Matched } else { order.state.clone() };
    if switches.status_prefix {
        ClobOrderStatus::Other(format!("ORDER_STATUS_{}", state.as_str()))
    } else {
        state
    }
}

/// An order as `GET /data/order/{id}` shows it.
pub fn order_row(world: &World, order: &Order, trade_ids: Vec<String>, switches: &Switches) -> OrderRow {
    let market = world.registry.get(order.token.market);
    let outcome = market.map(|m| &m.outcomes[order.token.index()]);
    OrderRow {
        id: order.id,
        status: shown(order, switches),
        owner: order.owner.clone(),
        maker_address: order.maker.to_string(),
        market: market.map(|m| m.condition.to_string()).unwrap_or_default(),
        asset_id: world.token_id(order.token),
        side: order.side,
        original_size: units(switches).write(order.size()),
        size_matched: units(switches).write(order.matched),
        price: order.limit,
        outcome: outcome.map(|o| o.name.to_string()).unwrap_or_default(),
        order_type: order.order_type.as_str().to_owned(),
        associate_trades: trade_ids,
        created_at: Some(order.accepted),
        expiration: order.expiration,
    }
}

/// A trade in one of its states, as `GET /data/trades` shows it to the owner of our order in it.
pub fn trade_row(world: &World, trade: &Trade, step: &Step, order: &Order, switches: &Switches) -> ClobTrade {
    let market = world.registry.get(order.token.market);
    let outcome = market.map(|m| &m.outcomes[order.token.index()]);
    let asset = world.token_id(order.token);
    let name = outcome.map(|o| o.name.to_string()).unwrap_or_default();
    // Whoever stood on the other side has orders of its own, one at each price.
    let other = |n: usize| {
        let place = n.to_be_bytes();
        let extra: &[u8] = if n > 0 { &place } else { &[] };
        OrderId::from_bytes(*keccak256(&[b"counterparty", trade.id.as_bytes(), extra]).as_bytes())
    };
    let opposite = if order.side == Side::Buy { Side::Sell } else { Side::Buy };
    let taker = trade.role == Role::Taker;
    let maker = |id, owner: &str, wallet: String, price, size, side| MakerOrder {
        order_id: id,
        owner: owner.to_owned(),
        maker_address: wallet,
        matched_amount: units(switches).write(size),
        price,
        asset_id: Some(asset.clone()),
        outcome: name.clone(),
        side: Some(side),
    };
    let maker_orders = if taker {
        let levels = trade.levels.iter().enumerate();
        levels.map(|(n, (price, size))| maker(other(n), "", String::new(), *price, *size, opposite)).collect()
    } else {
        vec![maker(order.id, &order.owner, order.maker.to_string(), order.limit, trade.size, order.side)]
    };
    ClobTrade {
        id: trade.id.clone(),
        taker_order_id: if taker { order.id } else { other(0) },
        market: market.map(|m| m.condition.to_string()).unwrap_or_default(),
        asset_id: asset.clone(),
        side: if taker { order.side } else { opposite },
        size: units(switches).write(trade.size),
        price: trade.price,
        status: if switches.status_prefix {
            ClobTradeStatus::Other(format!("TRADE_STATUS_{}", step.status.as_str()))
        } else {
            step.status.clone()
        },
        match_time: Some(trade.matched()),
        last_update: Some(step.at),
        outcome: name,
        owner: order.owner.clone(),
        maker_address: if taker { order.maker.to_string() } else { String::new() },
        transaction_hash: step.tx(trade),
        maker_orders,
        trader_side: if taker { TraderSide::Taker } else { TraderSide::Maker },
        err_msg: (step.status == ClobTradeStatus::Failed).then(|| "the transaction failed".to_owned()),
    }
}

/// A frame of the user stream; `None` for a state that a trade does not have.
pub fn frame(world: &World, told: &Told, switches: &Switches) -> Option<UserFrame> {
    let order = &told.order;
    let kind = match &told.news {
        News::Placed => OrderEventKind::Placement,
        News::Filled => OrderEventKind::Update,
        News::Ended => OrderEventKind::Cancellation,
        News::Trade(trade, step) => {
            let row = trade_row(world, trade, trade.steps.get(*step)?, order, switches);
            let extra = TradeFrameExtra::of(&order.owner, told.at);
            return Some(UserFrame::Trade(Box::new(TradeFrame { trade: row, extra })));
        }
    };
    let row = order_row(world, order, told.trade_ids.clone(), switches);
    Some(UserFrame::Order(Box::new(OrderFrame {
        id: row.id,
        kind,
        status: row.status,
        owner: row.owner.clone(),
        order_owner: row.owner,
        maker_address: row.maker_address,
        market: row.market,
        asset_id: row.asset_id,
        side: row.side,
        original_size: row.original_size,
        size_matched: row.size_matched,
        price: row.price,
        outcome: row.outcome,
        order_type: row.order_type,
        associate_trades: row.associate_trades,
        created_at: row.created_at,
        expiration: row.expiration,
        timestamp: millis(told.at),
    })))
}

fn millis(at: Timestamp) -> Literal {
    Literal::new(at.millis().to_string())
}
