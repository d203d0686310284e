//! Faults by seed: each request meets one or none, and the same request meets the same under the same seed,
//! in whatever order requests come.

use std::collections::BTreeMap;

use schemas::{Hash32, keccak256};
use serde::{Deserialize, Serialize};

use super::{Asked, Fault};
use crate::dice::draw_of;

/// One kind of bad weather.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spell {
    /// In how many of [`Weather::of`] requests.
    pub weight: u32,
    /// What happens then. Its `skip` and `count` do not matter.
    pub fault: Fault,
}

/// What the requests of a run meet.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Weather {
    /// Everything follows from it, and from the requests.
    pub seed: u64,
    /// How many requests the weights are counted in; 0: fair weather.
    pub of: u32,
    /// What there is. A request draws once among those that are for it.
    pub spells: Vec<Spell>,
}

/// A weather, and how often each request was seen under it.
#[derive(Debug, Default)]
pub struct Sky {
    weather: Weather,
    seen: BTreeMap<Hash32, u32>,
}

impl Sky {
    /// Under a weather, with nothing seen.
    pub const fn under(weather: Weather) -> Self {
        Self { weather, seen: BTreeMap::new() }
    }

    /// The weather.
    pub const fn weather(&self) -> &Weather {
        &self.weather
    }

    /// Whether it is fair.
    pub fn is_fair(&self) -> bool {
        self.weather.of == 0 || self.weather.spells.is_empty()
    }

    /// What a request meets. The n-th repeat of the same bytes to the same path draws by itself.
    pub fn meet(&mut self, asked: Asked<'_>) -> Option<Fault> {
        if self.is_fair() {
            return None;
        }
        let mut spells = self.weather.spells.iter().filter(|s| s.fault.is_for(asked)).peekable();
        spells.peek()?;
        let request = keccak256(&[asked.method.as_bytes(), b" ", asked.path.as_bytes(), b"\n", asked.body]);
        let nth = self.seen.entry(request).or_default();
        *nth += 1;
        let seed = self.weather.seed.to_be_bytes();
        let of = [&b"weather"[..], &seed, request.as_bytes(), &nth.to_be_bytes()];
        let mut left = draw_of(&of, self.weather.of);
        for spell in spells {
            match left.checked_sub(spell.weight) {
                Some(rest) => left = rest,
                None => return Some(spell.fault.clone()),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weather(seed: u64) -> Weather {
        let spell = |weight, fault| Spell { weight, fault };
        let spells = vec![
            spell(120, Fault::rate_limited(Some(1))),
            spell(30, Fault::dropped()),
            spell(500, Fault::slow(10).on("GET", "/data/*")),
        ];
        Weather { seed, of: 1_000, spells }
    }

    fn post(n: u32) -> Vec<u8> {
        format!("order {n}").into_bytes()
    }

    #[test]
    fn each_kind_comes_as_often_as_its_weight_and_where_it_belongs() {
        let mut sky = Sky::under(weather(7));
        let mut met = BTreeMap::<&str, u32>::new();
        for n in 0..20_000 {
            let body = post(n);
            let fault = sky.meet(Asked { method: "POST", path: "/order", orders: &[], body: &body });
            let kind = match fault {
                None => "none",
                Some(f) if f == Fault::dropped() => "dropped",
                Some(f) if f == Fault::rate_limited(Some(1)) => "limited",
                Some(_) => "elsewhere",
            };
            *met.entry(kind).or_default() += 1;
        }
        assert_eq!(met.get("elsewhere"), None);
        // 2,400 and 600 are expected; four standard deviations are 184 and 97.
        assert!(met["limited"].abs_diff(2_400) < 184 && met["dropped"].abs_diff(600) < 97, "{met:?}");
        let mut fair = Sky::under(Weather { of: 0, ..weather(7) });
        assert_eq!(fair.meet(Asked { method: "POST", path: "/order", orders: &[], body: b"" }), None);
        let get = Asked { method: "GET", path: "/data/trades", orders: &[], body: b"" };
        let slow = (0..1_000).filter(|_| sky.meet(get).is_some()).count();
        assert!(slow.abs_diff(500) < 64, "repeats draw anew: {slow}");
    }

    #[test]
    fn the_same_seed_meets_the_same_in_whatever_order_requests_come() {
        let run = |seed, order: &mut dyn Iterator<Item = u32>| {
            let mut sky = Sky::under(weather(seed));
            let mut met: Vec<_> = order
                .map(|n| (n, sky.meet(Asked { method: "POST", path: "/order", orders: &[], body: &post(n) })))
                .collect();
            met.sort_by_key(|(n, _)| *n);
            met
        };
        assert_eq!(run(1, &mut (0..500)), run(1, &mut (0..500).rev()));
        assert_ne!(run(1, &mut (0..500)), run(2, &mut (0..500)));
    }
}
