//! The closed sets of words that records use, each an enum here and a string in Avro: a set may grow
//! under FULL_TRANSITIVE compatibility, which an Avro enum may not.

/// Defines an enum whose variants are written as fixed words.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $( $(#[$vdoc:meta])* $variant:ident = $word:literal, )* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $( $(#[$vdoc])* $variant, )* }

        impl $name {
            /// Every word of the set, in the order of its definition.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The word, as written in records, tables, labels and the API.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::ids::IdError;
            fn from_str(s: &str) -> Result<Self, Self::Err> {
                match s {
                    $($word => Ok(Self::$variant),)*
                    _ => Err($crate::ids::IdError {
                        given: s.chars().take(100).collect(),
                        what: concat!("one of:", $(" ", $word,)*),
                    }),
                }
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                std::borrow::Cow::<'de, str>::deserialize(d)?.parse().map_err(serde::de::Error::custom)
            }
        }

        impl $crate::avro::AvroType for $name {
            fn avro(_: &mut $crate::avro::Names) -> serde_json::Value {
                serde_json::json!({ "type": "string", "words": [$($word,)*] })
            }
        }
    };
}

words! {
    /// Which way a trade goes.
    Side {
        /// Dollars into shares.
        Buy = "BUY",
        /// Shares into dollars.
        Sell = "SELL",
    }
}

words! {
    /// Whether real money moves. A tenant's mode is part of the key of positions, exposure and budgets.
    Mode {
        /// At the real venue, with real money.
        Live = "live",
        /// The real venue's data, fills computed against recorded books.
        Paper = "paper",
        /// At the simulator.
        Simulated = "simulated",
    }
}

words! {
    /// What a `Fill` record says about its fill.
    FillKind {
        /// A fill not seen before: to be decided.
        New = "new",
        /// More rows of a published fill: same fill id, next revision, new totals.
        Amendment = "amendment",
        /// Backfill for percentiles and statistics: never decided, moves no position.
        History = "history",
        /// Seen only after its natural key would have been forgotten: treated as history, and reported.
        Late = "late",
    }
}

words! {
    /// A change of a leader's position without a trade.
    ChangeKind {
        /// Collateral into one share of each outcome.
        Split = "SPLIT",
        /// One share of each outcome into collateral: counts as a sale of each.
        Merge = "MERGE",
        /// Neg-risk conversion of NO shares.
        Conversion = "CONVERSION",
        /// Winning shares paid out: zeroes the condition, no sale.
        Redeem = "REDEEM",
        /// The same holding under another id.
        Migration = "MIGRATION",
    }
}

words! {
    /// Where a tenant's target stands.
    TargetStatus {
        /// Followed.
        Active = "active",
        /// Followed for exits only; BUYs are skipped at the gate.
        Paused = "paused",
        /// Removed, and still followed for exits until flat.
        Closing = "closing",
        /// Gone.
        Removed = "removed",
    }
}

words! {
    /// How the size of a BUY is found (`behaviour.md` 3).
    Sizing {
        /// The smallest order the market takes.
        MinBet = "min_bet",
        /// `usdc_per_trade` dollars.
        Fixed = "fixed",
        /// The leader's dollars times `ratio`.
        Ratio = "ratio",
        /// Grows with the leader's conviction, measured against its own history.
        TargetPercentileScaled = "target_percentile_scaled",
        /// Follows the leader's position since activation.
        PositionGap = "position_gap",
        /// The leader's own shares.
        MirrorFillExact = "mirror_fill_exact",
        /// Scaled once there is enough history, else `min_bet`.
        Auto = "auto",
    }
}

words! {
    /// What happens to a desire below the floor (`behaviour.md` 3).
    BelowFloor {
        /// It is skipped.
        Skip = "skip",
        /// It is raised to the floor.
        Floor = "floor",
        /// It is kept for an hour and joins the next.
        Accumulate = "accumulate",
    }
}

words! {
    /// How a BUY is placed.
    Placement {
        /// A limit order that rests until `order_ttl`.
        MirrorLimit = "mirror_limit",
        /// Takes what the book has within the limit, now.
        MarketFak = "market_fak",
    }
}

words! {
    /// How far a SELL of the leader is followed.
    SellPolicy {
        /// The fraction the leader sold.
        Fraction = "fraction",
        /// Everything.
        FullExit = "full_exit",
    }
}

words! {
    /// How long an order lives at the venue.
    OrderType {
        /// Until cancelled.
        Gtc = "GTC",
        /// Until its expiration.
        Gtd = "GTD",
        /// All of it now, or nothing.
        Fok = "FOK",
        /// What can be had now; the rest is killed.
        Fak = "FAK",
    }
}

words! {
    /// What a decision came to.
    Outcome {
        /// An intent was written.
        Placed = "placed",
        /// A rule said no.
        Skipped = "skipped",
        /// The decision could not be made.
        Error = "error",
    }
}

words! {
    /// Why a decision came to its outcome: closed, and a metric label (`behaviour.md` 2).
    Reason {
        /// Placed: a new entry, or an exit.
        Ok = "ok",
        /// Placed on top of a token we hold.
        LayerScaleIn = "layer_scale_in",
        /// Placed on the opposite of a token we hold.
        HedgeFollowup = "hedge_followup",
        /// Rule 1: decided before. Counted, never recorded.
        AlreadyPlaced = "already_placed",
        /// Rule 3: the target is being wound down.
        TargetClosing = "target_closing",
        /// Rule 3: older than `max_fill_age`.
        StaleFill = "stale_fill",
        /// Rule 4: the wallet's positions are not known yet.
        BeforeBaselineSnapshot = "before_baseline_snapshot",
        /// Rule 5: no market facts came with it.
        MarketUnknown = "market_unknown",
        /// Rule 6: no orders taken, end date past.
        MarketPastEndDate = "market_past_end_date",
        /// Rule 6: no orders taken.
        MarketClosed = "market_closed",
        /// Rule 7: the leader's price lies outside the tradable band.
        PriceOutsideClobBounds = "price_outside_clob_bounds",
        /// Rule 8: the trade is too small or too large.
        FilterTradeSize = "filter_trade_size",
        /// Rule 8: the price is outside the band asked for.
        FilterPriceBand = "filter_price_band",
        /// Rule 8: the spread is too wide.
        FilterSpread = "filter_spread",
        /// Rule 8: too close to, or too far from, the market's end.
        FilterTimeToEnd = "filter_time_to_end",
        /// Rule 8: the market is not on the list, or is on the other one.
        FilterMarket = "filter_market",
        /// Rule 8: the category is not on the list, or is on the other one.
        FilterCategory = "filter_category",
        /// Rule 8: this side is not copied.
        FilterSide = "filter_side",
        /// Rule 9: the leader stands mostly on the other side.
        TargetDominantOtherSide = "target_dominant_other_side",
        /// Rule 10: the leader pays more than its own average.
        VwapFloorBreach = "vwap_floor_breach",
        /// Sizing: smaller than the venue takes, or its constraints are unknown.
        BelowMarketMin = "below_market_min",
        /// Sizing: the leader's position is below its own percentile.
        BelowTargetPercentile = "below_target_percentile",
        /// Sizing: our exposure is too small to hedge.
        FollowupPositionTooSmall = "followup_position_too_small",
        /// Sizing: the leader's position is too small to follow up.
        TargetPositionBelowThreshold = "target_position_below_threshold",
        /// Sizing: we already hold what the leader's position calls for.
        FollowupNotNeeded = "followup_not_needed",
        /// Rule 12: no room under `max_usdc_per_token`.
        PositionCapReached = "position_cap_reached",
        /// Rule 13: enough BUYs rest on the token.
        AlreadyResting = "already_resting",
        /// Rule 14: the taker fee eats too much.
        FeeTooHigh = "fee_too_high",
        /// Rule 14: the book has nothing within the limit.
        SlippageExceeded = "slippage_exceeded",
        /// SELL: we hold nothing of it.
        SellWithoutPosition = "sell_without_position",
        /// SELL: what we held is closed already.
        SellClosedPosition = "sell_closed_position",
        /// The decision could not be made; the error is on the record.
        DecisionFailed = "decision_failed",
    }
}

words! {
    /// What a decision does to our position.
    PositionBranch {
        /// Nothing.
        None = "none",
        /// Opens one.
        NewEntry = "new_entry",
        /// Adds to one.
        Layer = "layer",
        /// Buys the opposite of one.
        Hedge = "hedge",
        /// Reduces one.
        SellClose = "sell_close",
    }
}

words! {
    /// Where an attempt stands (`behaviour.md` 6).
    OrderStatus {
        /// Committed with its budget and signed body; nothing sent yet.
        Reserved = "reserved",
        /// Sent, not answered for good: also while delayed or put off by the venue.
        Submitted = "submitted",
        /// Rests at the venue.
        Open = "open",
        /// Rests, and part of it is filled.
        PartiallyFilled = "partially_filled",
        /// Fully matched; its trades are not all confirmed.
        Matched = "matched",
        /// Fully matched and confirmed. Final.
        Filled = "filled",
        /// Ended by a cancel, ours or the venue's; what filled before stays. Final.
        Cancelled = "cancelled",
        /// Its time ran out. Final.
        Expired = "expired",
        /// The venue said no, or it provably never landed. Final.
        Rejected = "rejected",
        /// Sent, and nobody knows. Keeps its reservation.
        Unknown = "unknown",
        /// The gate said no; never sent. Final.
        Denied = "denied",
    }
}

impl OrderStatus {
    /// Whether nothing more can happen to it, a late landing apart.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Filled | Self::Cancelled | Self::Expired | Self::Rejected | Self::Denied)
    }
}

words! {
    /// Why the gate denied an intent (`behaviour.md` 5), in the order in which it is asked.
    Denial {
        /// Everything is paused.
        GloballyPaused = "globally_paused",
        /// Everything is stopped, exits too.
        Halted = "halted",
        /// The tenant has no wallet connected.
        NoConnection = "no_connection",
        /// Approvals or balances of the wallet do not allow trading, selling included.
        TradingNotReady = "trading_not_ready",
        /// The tenant gave no grant.
        NoActiveGrant = "no_active_grant",
        /// The grant was taken back.
        GrantRevoked = "grant_revoked",
        /// The grant ran out.
        GrantExpired = "grant_expired",
        /// The grant does not cover this side.
        ScopeMissing = "scope_missing",
        /// The tenant's BUYs are paused.
        TenantPaused = "tenant_paused",
        /// The target row is gone or closing.
        TargetInactive = "target_inactive",
        /// The target is paused.
        TargetPaused = "target_paused",
        /// The fill is too old to be followed.
        IntentExpired = "intent_expired",
        /// What it replaces was filled, and nothing worth placing is left; or the leader left while it waited.
        Superseded = "superseded",
        /// Another target of the tenant is on the other side.
        OppositeHeld = "opposite_held",
        /// The wallet cannot pay for it.
        InsufficientBalance = "insufficient_balance",
        /// Above the cap of one order.
        CapExceededPerOrder = "cap_exceeded_per_order",
        /// Above what is left of the rolling day.
        CapExceededDaily = "cap_exceeded_daily",
        /// Above the orders of the rolling hour.
        CapExceededHourlyFills = "cap_exceeded_hourly_fills",
        /// Above the cap on one condition.
        CapExceededMarket = "cap_exceeded_market",
        /// Above the policy's own cap on the token.
        CapExceededPosition = "cap_exceeded_position",
        /// SELL: nothing is held, open, reserved or unknown.
        SellWithoutPosition = "sell_without_position",
        /// SELL: what is due is too small to be sold.
        Dust = "dust",
    }
}

words! {
    /// What a control record switches.
    ControlKind {
        /// BUYs stop; exits go on.
        Pause = "pause",
        /// Everything stops.
        Halt = "halt",
        /// The stages stop.
        Stop = "stop",
    }
}

words! {
    /// Who signs for a wallet, and how (`venue.md` 4).
    SignatureType {
        /// The key's own address trades.
        Eoa = "eoa",
        /// A Polymarket proxy trades for the key.
        Proxy = "proxy",
        /// A Gnosis Safe trades for the key.
        Safe = "safe",
        /// A deposit wallet signs by contract (ERC-1271).
        Poly1271 = "poly_1271",
    }
}

words! {
    /// The venue's protocol of a market (`venue.md` 0.3).
    MarketVersion {
        /// Conditional tokens, exchange version 2.
        V1 = "v1",
        /// Position ids, exchange version 3.
        V2 = "v2",
    }
}
