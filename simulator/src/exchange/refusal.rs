//! The venue's refusals, word for word (`venue.md` 5.5).

use schemas::{Address, AssetId, OrderId, OrderType, Price, Shares, Side, Tick, Usdc};

/// Why an order was not taken. All but [`Refusal::NoMatch`] leave no trace.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// JSON that is no order, or a signature that is not its signer's.
    #[error("Invalid order payload")]
    Payload,
    /// The body names another API key.
    #[error("the order owner has to be the owner of the API KEY")]
    Owner,
    /// The order is signed by another key.
    #[error("the order signer address has to be the address of the API KEY")]
    Signer,
    /// Signed for another exchange.
    #[error("order_version_mismatch")]
    Version,
    /// Who must not trade.
    #[error("'{0}' address banned")]
    Banned(Address),
    /// Who may only sell.
    #[error("'{0}' address in closed only mode")]
    ClosedOnly(Address),
    /// More orders than one payload may hold.
    #[error("Too many orders in payload: {given}, max allowed: {most}")]
    TooMany {
        /// How many there are.
        given: usize,
        /// How many there may be.
        most: usize,
    },
    /// The market takes no orders yet.
    #[error("the market is not yet ready to process new orders")]
    NotReady,
    /// There is no such market, or it is over.
    #[error("the orderbook {0} does not exist")]
    NoBook(AssetId),
    /// The same hash was here before.
    #[error("order {0} is invalid. Duplicated.")]
    Duplicated(OrderId),
    /// Off the tick, or out of range.
    #[error("order {id} is invalid. Price ({price}) breaks minimum tick size rule: {tick}")]
    Tick {
        /// The order.
        id: OrderId,
        /// Its price.
        price: Price,
        /// The market's tick.
        tick: Tick,
    },
    /// Too small to rest.
    #[error("order {id} is invalid. Size ({size}) lower than the minimum: {min}")]
    Size {
        /// The order.
        id: OrderId,
        /// Its size.
        size: Shares,
        /// The market's minimum.
        min: Shares,
    },
    /// Too many decimals.
    #[error(
        "invalid amounts, the {market}{} orders maker amount supports a max accuracy of {maker} decimals, taker \
         amount a max of {taker} decimals",
        side_word(*side)
    )]
    Accuracy {
        /// `market ` for orders that kill their rest.
        market: &'static str,
        /// Which way.
        side: Side,
        /// Decimals of the maker's amount.
        maker: u32,
        /// Decimals of the taker's amount.
        taker: u32,
    },
    /// A BUY that takes must be worth a dollar.
    #[error("invalid amount for a marketable BUY order (${0}), min size: $1")]
    BelowOneDollar(Usdc),
    /// A GTD too close to its end, or another type with one.
    #[error("invalid expiration")]
    Expiration,
    /// A post-only order that would take.
    #[error("invalid post-only order: order crosses book")]
    PostOnly,
    /// The maker cannot pay.
    #[error("not enough balance / allowance")]
    Balance,
    /// Killed: the id is taken all the same.
    #[error("{}", no_match(*.0))]
    NoMatch(OrderType),
}

const fn side_word(side: Side) -> &'static str {
    match side {
        Side::Buy => "buy",
        Side::Sell => "sell",
    }
}

const fn no_match(kind: OrderType) -> &'static str {
    match kind {
        OrderType::Fok => "order couldn't be fully filled. FOK orders are fully filled or killed.",
        _ => {
            "no orders found to match with FAK order. FAK orders are partially filled or killed if no match is \
             found."
        }
    }
}
