//! `grant set`: what is allowed stays, but for what is named.

use std::time::Duration;

use api::accounts::{SCOPES, SetGrant};
use schemas::{Timestamp, Usdc};

use crate::{cli::GrantTerms, error::Error};

/// A new grant's caps where none are named: small, so that nobody is surprised.
const PER_ORDER: Usdc = Usdc::from_units(5);
const DAILY: Usdc = Usdc::from_units(100);
const HOURLY: i64 = 100;

/// What the command line names of a grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    scopes: Option<Vec<String>>,
    per_order: Option<Usdc>,
    daily: Option<Usdc>,
    hourly_orders: Option<i64>,
    per_market: Term<Usdc>,
    expires_at: Term<Timestamp>,
}

/// What becomes of something that a grant need not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Term<T> {
    Kept,
    Gone,
    Set(T),
}

impl<T> Term<T> {
    /// `gone` is the word for taking it away.
    fn of(
        typed: Option<&str>,
        gone: &str,
        read: impl FnOnce(&str) -> Result<T, Error>,
    ) -> Result<Self, Error> {
        match typed {
            None => Ok(Self::Kept),
            Some(text) if text == gone => Ok(Self::Gone),
            Some(text) => read(text).map(Self::Set),
        }
    }

    fn on(self, there: Option<T>) -> Option<T> {
        match self {
            Self::Kept => there,
            Self::Gone => None,
            Self::Set(new) => Some(new),
        }
    }
}

impl Named {
    /// As it was typed.
    ///
    /// # Errors
    /// Dollars or hours that are none.
    pub fn of(typed: &GrantTerms, now: Timestamp) -> Result<Self, Error> {
        Ok(Self {
            scopes: typed.scopes.as_deref().map(scopes),
            per_order: typed.per_order.as_deref().map(dollars).transpose()?,
            daily: typed.daily.as_deref().map(dollars).transpose()?,
            hourly_orders: typed.hourly_orders,
            per_market: Term::of(typed.per_market.as_deref(), "none", dollars)?,
            expires_at: Term::of(typed.expires_in_hours.as_deref(), "never", |text| {
                hours(text).map(|h| now.plus(h))
            })?,
        })
    }

    /// What is allowed from now on: what was, but for what is named.
    pub fn on(self, there: Option<&SetGrant>) -> SetGrant {
        let there = there.cloned().unwrap_or_else(|| SetGrant {
            scopes: SCOPES.map(str::to_owned).to_vec(),
            per_order_usdc_cap: PER_ORDER,
            daily_usdc_cap: DAILY,
            hourly_fills_cap: HOURLY,
            per_market_usdc_cap: None,
            expires_at: None,
        });
        SetGrant {
            scopes: self.scopes.unwrap_or(there.scopes),
            per_order_usdc_cap: self.per_order.unwrap_or(there.per_order_usdc_cap),
            daily_usdc_cap: self.daily.unwrap_or(there.daily_usdc_cap),
            hourly_fills_cap: self.hourly_orders.unwrap_or(there.hourly_fills_cap),
            per_market_usdc_cap: self.per_market.on(there.per_market_usdc_cap),
            expires_at: self.expires_at.on(there.expires_at),
        }
    }
}

/// What is allowed, in one line: all of it, since what was not named stays.
pub fn told(terms: &SetGrant, now: Timestamp) -> String {
    let has = |scope: &str| terms.scopes.iter().any(|has| has == scope);
    let what = match (has("poly:trade:buy"), has("poly:trade:sell")) {
        (true, true) => "BUYs and SELLs",
        (true, false) => "BUYs and no SELLs",
        (false, true) => "SELLs and no BUYs",
        (false, false) => "neither BUYs nor SELLs",
    };
    let per_market = terms.per_market_usdc_cap.map(|cap| format!(", ${cap} on a market")).unwrap_or_default();
    let until = match terms.expires_at {
        None => "until it is taken back".to_owned(),
        Some(at) if at <= now => format!("but it ended at {}", api::http::rfc3339(at)),
        Some(at) => format!("until {}", api::http::rfc3339(at)),
    };
    format!(
        "{what}, at most ${} an order, ${} a day, {} orders an hour{per_market}, {until}",
        terms.per_order_usdc_cap, terms.daily_usdc_cap, terms.hourly_fills_cap
    )
}

fn scopes(text: &str) -> Vec<String> {
    let is_named = |scope: &&str| text.split(',').any(|word| scope.strip_prefix("poly:trade:") == Some(word));
    SCOPES.iter().filter(|scope| is_named(scope)).map(|scope| (*scope).to_owned()).collect()
}

fn dollars(text: &str) -> Result<Usdc, Error> {
    text.parse().map_err(|e| Error::Argument(format!("{e}; dollars look like 12.50")))
}

fn hours(text: &str) -> Result<Duration, Error> {
    let hours: u32 = text
        .parse()
        .map_err(|e| Error::Argument(format!("`{text}`: {e}; hours are a number, or `never`")))?;
    Ok(Duration::from_secs(3600 * u64::from(hours)))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command, GrantCommand};

    const NOW: Timestamp = Timestamp::from_micros(1_760_000_000_000_000);

    /// What `grant set` makes of what is allowed.
    fn set(there: Option<&SetGrant>, options: &[&str]) -> Result<SetGrant, Error> {
        let line = [&["polymirror", "grant", "set", "--tenant", "ada"], options].concat();
        let Command::Grant(GrantCommand::Set { terms, .. }) = Cli::try_parse_from(line).unwrap().command
        else {
            panic!("another command");
        };
        Named::of(&terms, NOW).map(|named| named.on(there))
    }

    fn narrow() -> SetGrant {
        SetGrant {
            scopes: vec!["poly:trade:sell".into()],
            per_order_usdc_cap: Usdc::from_units(7),
            daily_usdc_cap: Usdc::from_units(50),
            hourly_fills_cap: 20,
            per_market_usdc_cap: Some(Usdc::from_units(30)),
            expires_at: Some(NOW.plus(Duration::from_secs(60))),
        }
    }

    #[test]
    fn what_is_not_named_stays_as_it_is() {
        let there = narrow();
        assert_eq!(set(Some(&there), &[]).unwrap(), there);
        let daily = set(Some(&there), &["--daily", "60"]).unwrap();
        assert_eq!(daily, SetGrant { daily_usdc_cap: Usdc::from_units(60), ..there.clone() });
        let rest =
            ["--per-order", "8", "--hourly-orders", "9", "--per-market", "12.50", "--scopes", "buy,sell"];
        let rest = set(Some(&there), &rest).unwrap();
        let expected = SetGrant {
            scopes: SCOPES.map(str::to_owned).to_vec(),
            per_order_usdc_cap: Usdc::from_units(8),
            hourly_fills_cap: 9,
            per_market_usdc_cap: Some(Usdc::from_micro(12_500_000)),
            ..there
        };
        assert_eq!(rest, expected);
    }

    #[test]
    fn what_is_optional_can_be_taken_away_by_name_only() {
        let there = narrow();
        let no_cap = set(Some(&there), &["--per-market", "none"]).unwrap();
        assert_eq!(no_cap, SetGrant { per_market_usdc_cap: None, ..there.clone() });
        let no_end = set(Some(&there), &["--expires-in-hours", "never"]).unwrap();
        assert_eq!(no_end, SetGrant { expires_at: None, ..there.clone() });
        let later = set(Some(&there), &["--expires-in-hours", "2"]).unwrap();
        assert_eq!(later.expires_at, Some(NOW.plus(Duration::from_secs(7_200))));
        for (given, scopes) in
            [("none", vec![]), ("buy", vec![SCOPES[0].to_owned()]), ("sell", vec![SCOPES[1].to_owned()])]
        {
            assert_eq!(set(Some(&there), &["--scopes", given]).unwrap().scopes, scopes);
        }
        for wrong in [["--per-market", "never"], ["--expires-in-hours", "none"], ["--daily", "none"]] {
            assert!(matches!(set(Some(&there), &wrong), Err(Error::Argument(_))), "{wrong:?}");
        }
    }

    #[test]
    fn a_new_grant_has_small_caps_where_none_are_named() {
        let new = set(None, &["--daily", "60"]).unwrap();
        let told_of =
            "BUYs and SELLs, at most $5 an order, $60 a day, 100 orders an hour, until it is taken back";
        assert_eq!(told(&new, NOW), told_of);
    }

    #[test]
    fn all_that_is_allowed_is_told() {
        assert_eq!(
            told(&narrow(), NOW),
            "SELLs and no BUYs, at most $7 an order, $50 a day, 20 orders an hour, $30 on a market, until \
             2025-10-09T08:54:20Z"
        );
        let ended = SetGrant { expires_at: Some(NOW), ..narrow() };
        assert!(told(&ended, NOW).ends_with("but it ended at 2025-10-09T08:53:20Z"));
    }

    #[test]
    fn a_grant_is_taken_back_whole() {
        let line = ["polymirror", "grant", "set", "--tenant", "ada", "--revoke"];
        assert!(Cli::try_parse_from(line).is_ok());
        assert!(Cli::try_parse_from([&line[..], &["--daily", "60"]].concat()).is_err());
    }
}
