//! A tenant's settings for one target, as people write them: `key=value`, money as decimals, parts as `0.2`
//! or `20%`, times as `600`, `600s`, `10m`, `2h`, `1d` (`behaviour.md` 2 to 4). Checked in one place,
//! [`check`], wherever a policy comes from.

mod check;
mod table;
mod values;

pub use check::check;
pub use table::{SETTINGS, Setting};

use schemas::{Sizing, Timestamp, events::Policy};

/// What is wrong with a setting.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// There is no such setting.
    #[error("policy_setting_unknown: there is no setting `{name}`. There are: {}", names())]
    Unknown {
        /// What was asked for.
        name: String,
    },
    /// A pair that is none.
    #[error("policy_pair_invalid: `{given}` is not `setting=value`")]
    NotAPair {
        /// What was given.
        given: String,
    },
    /// The same setting twice.
    #[error("policy_setting_repeated: `{name}` is set twice")]
    Repeated {
        /// Which.
        name: &'static str,
    },
    /// The value does not read as one of the setting's.
    #[error("policy_value_invalid: `{value}` is no value for `{name}`: {expected}")]
    Invalid {
        /// The setting.
        name: &'static str,
        /// What was given.
        value: String,
        /// What it should have been.
        expected: String,
    },
    /// The value is outside what the setting allows.
    #[error("policy_value_out_of_range: `{name}` = {value}: it must be {range}")]
    OutOfRange {
        /// The setting.
        name: &'static str,
        /// What was given.
        value: String,
        /// What is allowed.
        range: &'static str,
    },
    /// The settings do not fit each other.
    #[error("policy_incomplete: {0}")]
    Incomplete(&'static str),
    /// Nothing here could carry it out.
    #[error("policy_unsupported: {0}")]
    Unsupported(String),
}

impl PolicyError {
    /// The error's code, as its page under `docs/errors/` is named.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unknown { .. } => "policy_setting_unknown",
            Self::NotAPair { .. } => "policy_pair_invalid",
            Self::Repeated { .. } => "policy_setting_repeated",
            Self::Invalid { .. } => "policy_value_invalid",
            Self::OutOfRange { .. } => "policy_value_out_of_range",
            Self::Incomplete(_) => "policy_incomplete",
            Self::Unsupported(_) => "policy_unsupported",
        }
    }
}

fn names() -> String {
    SETTINGS.iter().map(|setting| setting.name).collect::<Vec<_>>().join(", ")
}

/// A policy with nothing set but its sizing: each other setting stands for its default.
pub fn with_sizing(sizing: Sizing) -> Policy {
    Policy {
        sizing,
        usdc_per_trade: None,
        ratio: None,
        max_usdc_per_trade: None,
        max_usdc_per_token: None,
        below_floor: None,
        mirror_filter_percentile: None,
        gap_range_max: None,
        gap_max_alloc: None,
        follow_ups: None,
        placement: None,
        order_ttl_s: None,
        max_fill_age_s: None,
        max_slippage_ticks: None,
        max_slippage_fraction: None,
        max_open_orders: None,
        stale_replace_delta: None,
        max_fee_fraction: None,
        min_target_side_fraction: None,
        vwap_tolerance: None,
        min_trade_usdc: None,
        max_trade_usdc: None,
        min_price: None,
        max_price: None,
        max_spread: None,
        min_time_to_end_s: None,
        max_time_to_end_s: None,
        only_markets: Vec::new(),
        not_markets: Vec::new(),
        only_categories: Vec::new(),
        not_categories: Vec::new(),
        only_side: None,
        sell_policy: None,
        exit_slippage_fraction: None,
        exit_floor_fraction: None,
        min_close_usdc: None,
        allow_both_sides: None,
        sell_winners_at: None,
        take_profit_fraction: None,
        stop_loss_fraction: None,
        set_at: Timestamp::default(),
    }
}

/// The policy with these pairs applied, checked. A value of `default` takes a setting back.
///
/// # Errors
/// The first pair that is wrong, or what does not fit together afterwards.
pub fn apply<S: AsRef<str>>(base: &Policy, pairs: &[S]) -> Result<Policy, PolicyError> {
    let split = |pair: &'_ S| match pair.as_ref().split_once('=') {
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
        None => Err(PolicyError::NotAPair { given: pair.as_ref().chars().take(100).collect() }),
    };
    let pairs: Vec<(String, String)> = pairs.iter().map(split).collect::<Result<_, _>>()?;
    apply_settings(base, &pairs)
}

/// The policy with these settings applied, checked: as [`apply`], with names and values apart.
///
/// # Errors
/// The first setting that is wrong, or what does not fit together afterwards.
pub fn apply_settings(base: &Policy, settings: &[(String, String)]) -> Result<Policy, PolicyError> {
    let mut policy = base.clone();
    let mut seen: Vec<&'static str> = Vec::new();
    for (name, value) in settings {
        let (name, value) = (name.trim(), value.trim());
        let setting = SETTINGS
            .iter()
            .find(|setting| setting.name == name || setting.also == Some(name))
            .ok_or_else(|| PolicyError::Unknown { name: name.chars().take(100).collect() })?;
        if seen.contains(&setting.name) {
            return Err(PolicyError::Repeated { name: setting.name });
        }
        seen.push(setting.name);
        (setting.set)(&mut policy, value).map_err(|expected| PolicyError::Invalid {
            name: setting.name,
            value: value.chars().take(100).collect(),
            expected,
        })?;
    }
    check(&policy)?;
    Ok(policy)
}

/// What the policy sets, as pairs that [`apply`] reads back.
pub fn pairs(policy: &Policy) -> Vec<(&'static str, String)> {
    SETTINGS.iter().filter_map(|setting| Some((setting.name, (setting.get)(policy)?))).collect()
}
