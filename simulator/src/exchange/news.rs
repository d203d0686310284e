//! What the owners of orders are told: the source of the user stream (`venue.md` 3.2).

use std::{collections::VecDeque, sync::Arc};

use schemas::Timestamp;

use super::order::{Order, Trade};

/// News beyond this many are forgotten, oldest first: whoever reads slower is sent away.
const KEEP: usize = 8_192;

/// Something that happened to an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// It was taken.
    Placed,
    /// Something of it filled.
    Filled,
    /// It rests no more, unfilled or in part.
    Ended,
    /// A trade of it reached a state: the place of that state in its life.
    Trade(Box<Trade>, usize),
}

/// News, and of which order, as it then stood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// When it happened.
    pub at: Timestamp,
    /// The order.
    pub order: Order,
    /// The ids of its trades so far, oldest first.
    pub trade_ids: Vec<String>,
    /// What.
    pub news: News,
}

/// All news, numbered from zero. Nothing is written down while nobody reads.
#[derive(Debug, Default)]
pub struct NewsLog {
    wanted: bool,
    first: u64,
    told: VecDeque<Arc<Told>>,
}

impl NewsLog {
    /// From now on news are kept.
    pub const fn want(&mut self) {
        self.wanted = true;
    }

    /// Whether anybody reads.
    pub const fn is_wanted(&self) -> bool {
        self.wanted
    }

    /// The number of the next.
    pub fn next(&self) -> u64 {
        self.first + self.told.len() as u64
    }

    /// The number of the oldest that is kept.
    pub const fn first(&self) -> u64 {
        self.first
    }

    /// Adds one.
    pub fn tell(&mut self, told: Told) {
        if !self.wanted {
            return;
        }
        self.told.push_back(Arc::new(told));
        if self.told.len() > KEEP {
            self.told.pop_front();
            self.first += 1;
        }
    }

    /// The news from a number on, with their numbers.
    pub fn since(&self, number: u64) -> impl Iterator<Item = (u64, &Arc<Told>)> {
        let skip = usize::try_from(number.saturating_sub(self.first)).unwrap_or(usize::MAX);
        self.told.iter().enumerate().skip(skip).map(|(n, told)| (self.first + n as u64, told))
    }
}
