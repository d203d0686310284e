//! The venue's JSON, as types: read by our clients, written by our simulator.
//!
//! Numbers are taken from their literal, digit by digit, and never pass through a binary fraction
//! ([`num`]). A word or field that the venue may add is tolerated: unknown fields are ignored, open sets
//! of words ([`word`]) keep what they do not know, and rows of a page are read one by one ([`page`]), so
//! that one strange row does not cost the others.
//!
//! Reading needs `serde_json` over text or bytes; other formats lose the literals.

pub mod account;
pub mod book;
pub mod clob_market;
pub mod data;
pub mod error;
pub mod gamma;
pub mod legacy;
pub mod num;
pub mod order;
pub mod page;
pub mod resolution;
pub mod text;
pub mod trade;
pub mod user;
pub mod word;

pub use account::{ApiKeyRow, BalanceAllowance, CancelAnswer, CancelRequest};
pub use book::{Book, BookLevel, BookQuery};
pub use clob_market::{ClobFee, ClobMarket, ClobToken};
pub use data::{ActivityKind, ActivityRow, PositionRow, PositionStatus, TradeRow};
pub use error::{ClobError, DataError};
pub use gamma::{FeeSchedule, GammaMarket, GammaPage};
pub use legacy::{LegacyActivityRow, LegacyTradeRow};
pub use num::{Literal, Rate};
pub use order::{
    ClobOrderStatus, OrderRow, PlacedStatus, PostOrder, PostOrderAnswer, SignedOrder, SizeUnits, UnitsError,
};
pub use page::{Listing, Page, Pagination, Rows, UnreadableRow};
pub use resolution::ResolutionRow;
pub use text::{Checksummed, HexBytes};
pub use trade::{ClobTrade, ClobTradeStatus, MakerOrder, TraderSide};
pub use user::{
    OrderEventKind, OrderFrame, TradeFrame, TradeFrameExtra, UserChange, UserFrame, UserFrames, UserMessage,
    UserRequest, UserSubscribe,
};
