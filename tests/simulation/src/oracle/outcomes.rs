//! 4 and 7: of a market that ended nothing is open any more, nothing is due any more, and whatever was not sold is a
//! winner, a loser, or split.

use execute::core::{Attempt, close::Close};
use project::core::lifecycle::Lifecycle;
use schemas::{Shares, Side};

use super::Broken;
use crate::{
    plan::{Plan, What, condition, token},
    stage::Ground,
};

/// How what pays so much a share stands.
const fn pays(micro: i64) -> Lifecycle {
    match micro {
        1_000_000 => Lifecycle::Winner,
        0 => Lifecycle::Loser,
        _ => Lifecycle::Split,
    }
}

/// Judges what stands of the markets that ended.
pub fn judge(plan: &Plan, ground: &Ground, rows: &[Attempt]) -> Vec<Broken> {
    let mut broken = Vec::new();
    let mut breaks = |rule, what| broken.push(Broken { rule, what });
    let ended: Vec<(u8, [i64; 2])> = plan
        .steps
        .iter()
        .filter_map(|step| match step.what {
            What::End { market, payouts, .. } => Some((market, payouts)),
            _ => None,
        })
        .collect();
    for (market, _) in &ended {
        let of_it = |row: &&Attempt| row.condition_id == condition(*market);
        for row in rows.iter().filter(of_it).filter(|row| !row.is_final) {
            let what = format!("{}#{} is {}", super::short(row.idempotency_key), row.attempt, row.status);
            breaks("an order of a market that ended is open", what);
        }
        let closes = ground.ledger.closes();
        let of_it = closes.iter().filter(|c| c.condition_id == condition(*market));
        for due in of_it.filter(|c| !super::ends::looks_later(ground, c)).flat_map(Close::open) {
            let what = format!("{} of {}", due.remaining(), super::short(due.idempotency_key));
            breaks("something of a market that ended is due", what);
        }
    }
    let outcome = |row: &project::store::Row| {
        ended.iter().find_map(|(market, payouts)| {
            let second = [false, true].into_iter().find(|s| token(*market, *s) == row.ledger.asset)?;
            Some(pays(payouts[usize::from(second)]))
        })
    };
    for row in ground.tables.rows().values() {
        let bought = row.ledger.side == Side::Buy && row.ledger.filled_shares > Shares::ZERO;
        let stands = match (row.lifecycle, outcome(row)) {
            (Some(Lifecycle::Winner | Lifecycle::Loser | Lifecycle::Split), None) => false,
            (Some(there), Some(paid)) if bought => there == Lifecycle::Closed || there == paid,
            _ => true,
        };
        if !stands {
            let what = format!("{}: {:?}", super::short(row.ledger.key), row.lifecycle);
            breaks("a position does not stand by what its market pays", what);
        }
    }
    broken
}
