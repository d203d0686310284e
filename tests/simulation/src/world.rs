//! What happens in the world besides the stages: wallets trade and their fills are published, tenants change their
//! minds, rows are written where the api would write them.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use eventlog::{Append, Log, Record, Written, event::record};
use execute::{
    core::snapshot::{Connection, Grant, Target},
    store::SealedConnection,
};
use schemas::{
    ChangeKind, FillId, FillKind, Mode, Round, Shares, SignatureType, TargetStatus, Timestamp, Usdc,
    avro::Event,
    events::{
        CloseRequested, Fill, FillVoided, Payout, PositionChanged, PositionSnapshot, TargetState, TokenDelta,
        TokenMarked, TokenResolved,
    },
    topics::Topic,
};
use std::sync::Mutex;
use venue::{facts::book_snapshot, port::MarketData};

use crate::{
    plan::{
        Caps, Follow, Plan, Step, TenantPlan, What, account, condition, connection, row, second, target,
        token, tx, user, wallet,
    },
    ports::at_once,
    stage::{Ground, sealed, signer},
    time::START,
};

/// The world around the stages.
#[derive(Debug, Clone)]
pub struct World {
    plan: Arc<Plan>,
    ground: Ground,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// Revisions of targets.
    targets: BTreeMap<(u8, u8), i64>,
    /// What each fill has come to: revision, shares, rows.
    fills: BTreeMap<u16, (i32, Shares, i32)>,
    published: u64,
    repeated: u64,
    intents_repeated: bool,
    /// What each tenant allows by now, where that is not what it did at first.
    caps: BTreeMap<u8, Caps>,
    changes: u64,
    ends: u64,
}

/// What the world did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Told {
    /// Records of fills.
    pub published: u64,
    /// Of those, such that repeat another.
    pub repeated: u64,
    /// Whether intents were put into the log once more.
    pub intents_repeated: bool,
    /// Position changes without a trade.
    pub changes: u64,
    /// Markets that ended.
    pub ends: u64,
}

/// The scopes of a grant.
const SCOPES: [&str; 2] = ["poly:trade:buy", "poly:trade:sell"];

impl World {
    /// The world of a plan: tenants have their rows, and everything that happens is on the agenda.
    pub fn open(plan: Arc<Plan>, ground: &Ground) -> Self {
        let world = Self { plan, ground: ground.clone(), state: Arc::default() };
        let tenants: Vec<_> = (0u8..).zip(world.plan.tenants.clone()).collect();
        for (n, tenant) in tenants {
            world.settle(n, &tenant);
        }
        for follow in world.plan.follows.clone() {
            let (w, at) = (world.clone(), follow.since);
            ground.agenda.at(at, move || w.follow(&follow, TargetStatus::Active, false, false));
        }
        for step in world.plan.steps.clone() {
            world.plan_step(step);
        }
        world
    }

    /// What was published.
    pub fn told(&self) -> Told {
        let state = self.lock();
        Told {
            published: state.published,
            repeated: state.repeated,
            intents_repeated: state.intents_repeated,
            changes: state.changes,
            ends: state.ends,
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn now(&self) -> Timestamp {
        START.plus(self.ground.agenda.elapsed())
    }

    fn settle(&self, n: u8, tenant: &TenantPlan) {
        let ground = &self.ground;
        ground.ledger.add_account(account(n), user(n));
        ground.tables.add_account(account(n), user(n));
        let address = signer(n).address();
        ground.ledger.put_connection(SealedConnection {
            billing_account_id: account(n),
            connection: Connection {
                id: connection(n),
                address,
                signature_type: SignatureType::Eoa,
                funder: address,
                approved: tenant.approved,
            },
            signing_key: sealed(n),
            api_credentials: None,
        });
        self.grant(n, None, false, None);
    }

    fn grant(&self, n: u8, expires_in: Option<Duration>, revoked: bool, caps: Option<Caps>) {
        let caps = {
            let mut state = self.lock();
            let known = state.caps.entry(n).or_insert(self.plan.tenants[usize::from(n)].caps);
            *known = caps.unwrap_or(*known);
            *known
        };
        let grant = Grant {
            scopes: SCOPES.map(str::to_owned).to_vec(),
            per_order: caps.per_order,
            daily: caps.daily,
            hourly: caps.hourly,
            per_market: caps.per_market,
            expires_at: expires_in.map(|d| self.now().plus(d)),
            revoked,
        };
        self.ground.ledger.put_grant(account(n), grant);
    }

    fn append<E: Event>(&self, topic: Topic, of: u8, event: &E) {
        let made = record(&self.ground.codec, &wallet(of).to_string(), event, self.now(), None);
        let Ok((record, _)) = made else { return };
        self.put(topic, of, record);
    }

    fn put(&self, topic: Topic, of: u8, record: Record) {
        let to = self.ground.log.manifest().place(topic, wallet(of).to_string().as_bytes());
        let written = at_once(self.ground.log.append(vec![Append { to, record }]));
        debug_assert!(matches!(written, Written::Done(_)));
    }

    fn follow(&self, follow: &Follow, status: TargetStatus, close_now: bool, keep: bool) {
        let (tenant, of) = (follow.tenant, follow.wallet);
        let revision = {
            let mut state = self.lock();
            let revision = state.targets.entry((tenant, of)).or_default();
            *revision += 1;
            *revision
        };
        let state = TargetState {
            target_row_id: row(tenant, of),
            revision,
            billing_account_id: account(tenant),
            created_by_user_id: user(tenant),
            wallet: wallet(of),
            target_id: target(of),
            status,
            close_now,
            keep_positions: keep,
            mode: Mode::Simulated,
            policy_revision: 1,
            policy: follow.policy.clone(),
            created_at: START.plus(follow.since),
            changed_at: self.now(),
        };
        let gate = Target { status, wallet: wallet(of), mode: Mode::Simulated, created_by: user(tenant) };
        self.ground.ledger.put_target(account(tenant), row(tenant, of), gate);
        self.ground.fates.tell(|| format!("tenant {tenant} follows wallet {of}: {status}"));
        self.append(Topic::Targets, of, &state);
    }

    fn plan_step(&self, step: Step) {
        let Step { at, what } = step;
        let agenda = &self.ground.agenda;
        match what {
            What::Fill { n, ref published, .. } => {
                for (nth, delay) in published.iter().enumerate() {
                    let (world, what) = (self.clone(), what.clone());
                    agenda.at(at + *delay, move || world.publish(at, n, &what, nth > 0, false));
                }
            }
            What::Change { ref published, .. } => {
                for (nth, delay) in published.iter().enumerate() {
                    let (world, what) = (self.clone(), what.clone());
                    agenda.at(at + *delay, move || world.change(at, &what, nth > 0));
                }
            }
            What::End { market, payouts, pays, ref told } => {
                let world = self.clone();
                agenda.at(at, move || world.lock().ends += 1);
                for delay in told {
                    let world = self.clone();
                    agenda.at(at + pays + *delay, move || world.resolved(market, payouts, at + pays));
                }
            }
            // The venue's script shows them.
            What::Print(_) => {}
            other => {
                let world = self.clone();
                agenda.at(at, move || world.happen(&other));
            }
        }
    }

    /// Publishes a fill as it is known by now; `alias`: as another source names it.
    fn publish(&self, at: Duration, n: u16, what: &What, again: bool, alias: bool) {
        let What::Fill { wallet: of, trade, facts, .. } = what else { return };
        let (revision, shares, rows) = {
            let mut state = self.lock();
            state.published += 1;
            state.repeated += u64::from(again);
            *state.fills.entry(n).or_insert((0, trade.shares, 1))
        };
        let asset = token(trade.market, trade.second);
        let book = at_once(self.ground.venue.local().book(&asset)).ok().flatten();
        let filled_at = second(at);
        let name = if alias { FillId::clob_ws } else { FillId::data_api };
        let fill = Fill {
            kind: if revision == 0 { FillKind::New } else { FillKind::Amendment },
            wallet: wallet(*of),
            fill_id: name(tx(n), &asset, trade.side, filled_at),
            revision,
            tx: tx(n),
            condition_id: condition(trade.market),
            side: trade.side,
            shares,
            notional: trade.price.cost(shares, Round::Nearest).unwrap_or_default(),
            price: trade.price,
            rows,
            filled_at,
            observed_at: self.now(),
            page_order: None,
            outcome: None,
            title: None,
            facts: facts.then(|| self.plan.facts(trade.market, self.ground.agenda.elapsed())),
            book: book.as_ref().map(book_snapshot),
            asset,
        };
        self.ground.fates.tell(|| {
            format!(
                "fill {n} r{revision}: wallet {of} {} {shares} of {} at {}{}",
                trade.side,
                fill.asset,
                trade.price,
                if again || alias { " (again)" } else { "" },
            )
        });
        self.append(Topic::Fills, *of, &fill);
    }

    fn happen(&self, what: &What) {
        self.ground.fates.tell(|| format!("{what:?}"));
        match *what {
            What::Fill { .. } | What::Print(_) | What::Change { .. } | What::End { .. } => {}
            What::Amend { n, more } => self.amend(n, more),
            What::Alias { n } => {
                if let Some((at, of, trade)) = self.plan.fill(n) {
                    let what = What::Fill { n, wallet: of, trade, published: Vec::new(), facts: true };
                    self.publish(at, n, &what, true, true);
                }
            }
            What::Intents { last } => self.repeat_intents(usize::from(last)),
            What::Void { n } => self.void(n),
            What::Snapshot { wallet: of } => {
                let snapshot = PositionSnapshot {
                    wallet: wallet(of),
                    covers_until: START.minus(Duration::from_secs(60)),
                    near: Vec::new(),
                    positions: Vec::new(),
                    part: 0,
                    parts: 1,
                    observed_at: self.now(),
                };
                self.append(Topic::Fills, of, &snapshot);
            }
            What::Target { tenant, wallet: of, status, close_now, keep } => {
                let follow = self.plan.follows.iter().find(|f| f.tenant == tenant && f.wallet == of);
                if let Some(follow) = follow {
                    self.follow(follow, status, close_now, keep);
                }
            }
            What::Close { n, tenant, wallet: of, market, second } => {
                let request = CloseRequested {
                    request_id: format!("request-{n}"),
                    target_row_id: row(tenant, of),
                    billing_account_id: account(tenant),
                    wallet: wallet(of),
                    asset: token(market, second),
                    requested_at: self.now(),
                };
                self.append(Topic::Targets, of, &request);
            }
            What::Mark { wallet: of, market, second } => self.mark(of, market, second),
            What::Grant { tenant, expires_in, revoked, caps } => {
                self.grant(tenant, expires_in, revoked, caps);
            }
            What::Switch { tenant, kind, on } => {
                self.ground.ledger.put_switch(tenant.map(account), kind, on);
            }
        }
    }

    /// Publishes a position change, as ingest makes them of the rows of the activity list.
    fn change(&self, at: Duration, what: &What, again: bool) {
        let What::Change { n, wallet: of, market, kind, shares, facts, .. } = *what else { return };
        self.lock().changes += u64::from(!again);
        self.ground.fates.tell(|| format!("{what:?}{}", if again { " (again)" } else { "" }));
        let delta =
            |second, shares, cost| TokenDelta { asset: token(market, second), shares, cost, becomes: None };
        let gone = Shares::from_micro(-shares.micro());
        let nothing = Usdc::ZERO;
        let deltas = match kind {
            ChangeKind::Split => {
                // A share of both costs a dollar, the odd 10^-6 with the first.
                let (half, odd) = (shares.micro() / 2, shares.micro() % 2);
                let cost = |micro| Usdc::from_micro(micro);
                vec![delta(false, shares, cost(half + odd)), delta(true, shares, cost(half))]
            }
            ChangeKind::Merge => vec![delta(false, gone, nothing), delta(true, gone, nothing)],
            ChangeKind::Redeem => {
                // However much there was.
                let all = Shares::from_micro(-i64::MAX);
                vec![delta(false, all, nothing), delta(true, all, nothing)]
            }
            ChangeKind::Conversion | ChangeKind::Migration => vec![delta(true, gone, nothing)],
        };
        let books = deltas
            .iter()
            .filter(|_| facts)
            .map(|delta| at_once(self.ground.venue.local().book(&delta.asset)).ok().flatten());
        let changed = PositionChanged {
            wallet: wallet(of),
            kind,
            tx: tx(n),
            condition_id: condition(market),
            changed_at: second(at),
            observed_at: self.now(),
            facts: facts.then(|| self.plan.facts(market, self.ground.agenda.elapsed())),
            books: books.flatten().map(|book| book_snapshot(&book)).collect(),
            deltas,
        };
        self.append(Topic::Fills, of, &changed);
    }

    /// Publishes a sample of a token's price; where there is no book there is none.
    fn mark(&self, of: u8, market: u8, second: bool) {
        let asset = token(market, second);
        let Some(book) = at_once(self.ground.venue.local().book(&asset)).ok().flatten() else { return };
        let book = book_snapshot(&book);
        let marked = TokenMarked {
            wallet: wallet(of),
            condition_id: condition(market),
            best_bid: book.bids.first().map(|level| level.price),
            best_ask: book.asks.first().map(|level| level.price),
            as_of: book.as_of,
            asset,
        };
        self.append(Topic::Fills, of, &marked);
    }

    /// Publishes what a market pays, for the followers of every wallet.
    fn resolved(&self, market: u8, payouts: [i64; 2], at: Duration) {
        self.ground.fates.tell(|| format!("market {market} pays {payouts:?}"));
        for of in 0..self.plan.wallets {
            let paid = |second: bool| Payout {
                asset: token(market, second),
                per_share: Usdc::from_micro(payouts[usize::from(second)]),
            };
            let resolved = TokenResolved {
                wallet: wallet(of),
                condition_id: condition(market),
                payouts: vec![paid(false), paid(true)],
                resolved_at: second(at),
            };
            self.append(Topic::Fills, of, &resolved);
        }
    }

    /// A fill that was published is published again with new totals.
    fn amend(&self, n: u16, more: Shares) {
        let Some((at, of, trade)) = self.plan.fill(n) else { return };
        {
            let mut state = self.lock();
            let Some((revision, shares, rows)) = state.fills.get_mut(&n) else { return };
            (*revision, *shares, *rows) = (*revision + 1, shares.saturating_add(more), *rows + 1);
        }
        let what = What::Fill { n, wallet: of, trade, published: Vec::new(), facts: true };
        self.publish(at, n, &what, false, false);
    }

    fn repeat_intents(&self, last: usize) {
        let newest: Vec<Append> = self
            .ground
            .log
            .contents()
            .into_iter()
            .filter(|(at, _)| at.topic == Topic::Intents)
            .flat_map(|(to, records)| {
                let skip = records.len().saturating_sub(last);
                records.into_iter().skip(skip).map(move |stored| Append { to, record: stored.record })
            })
            .collect();
        self.lock().intents_repeated |= !newest.is_empty();
        let written = at_once(self.ground.log.append(newest));
        debug_assert!(matches!(written, Written::Done(_)));
    }

    fn void(&self, n: u16) {
        let Some((at, of, trade)) = self.plan.fill(n) else { return };
        let Some((revision, shares, _)) = self.lock().fills.get(&n).copied() else { return };
        let asset = token(trade.market, trade.second);
        let voided = FillVoided {
            wallet: wallet(of),
            fill_id: FillId::data_api(tx(n), &asset, trade.side, second(at)),
            revision,
            tx: tx(n),
            condition_id: condition(trade.market),
            side: trade.side,
            shares,
            filled_at: second(at),
            observed_at: self.now(),
            asset,
        };
        self.append(Topic::Fills, of, &voided);
    }
}
