//! Asked whenever an order leaves, and whenever one arrives.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use execute::{
    MemoryStore,
    core::{Attempt, AttemptKey},
    store::Claim,
};
use schemas::{Address, AssetId, OrderId, OrderStatus, OrderType, Side, TargetId, Timestamp, Usdc};
use simulator::{Handle, OrderView};
use venue::outcome::SubmitOutcome;

use super::{
    Broken,
    exposure::{Part, least_cost, parts, size, within},
    short,
};
use crate::{
    fate::Fates,
    plan::{Caps, Plan, account},
    time::{Agenda, START},
};

/// A GTD order is sent only with so much of its life left (`behaviour.md` 6.3).
const LEAST_LIFE: Duration = Duration::from_secs(190);
/// How far the clock of a process may be from the venue's.
const CLOCKS: Duration = Duration::from_secs(1);
/// The index of orders is behind by at most so much.
const BEHIND: Duration = Duration::from_secs(8);

#[derive(Debug, Default)]
struct State {
    /// The process that sits at a place, as the ledger knows it.
    owners: BTreeMap<&'static str, String>,
    /// Every attempt that was ever sent, by the id it was sent under.
    sent: BTreeMap<AttemptKey, OrderId>,
    landed: BTreeMap<OrderId, Duration>,
    /// Orders that the ledger had given up when they landed, or was made to.
    late: BTreeSet<OrderId>,
    after_all: u64,
    broken: Option<Broken>,
    posts: u64,
    zombies: u64,
}

/// What the judge saw besides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Seen {
    /// Orders handed to the network.
    pub posts: u64,
    /// Partitions taken from a process that was alive.
    pub zombies: u64,
    /// Orders that landed after they were given up.
    pub late: u64,
}

/// Watches every send and every arrival of a run.
#[derive(Debug)]
pub struct Judge {
    plan: Arc<Plan>,
    ledger: MemoryStore,
    venue: OnceLock<Handle>,
    agenda: Agenda,
    fates: Fates,
    /// The tenants' wallets at the venue.
    wallets: Vec<Address>,
    state: Mutex<State>,
}

impl Judge {
    /// A judge of a run whose venue is yet to be opened.
    pub fn new(
        plan: Arc<Plan>,
        ledger: MemoryStore,
        agenda: Agenda,
        fates: Fates,
        wallets: Vec<Address>,
    ) -> Self {
        Self { plan, ledger, venue: OnceLock::new(), agenda, fates, wallets, state: Mutex::default() }
    }

    /// The venue opens.
    pub fn watch(&self, venue: Handle) {
        // There is one.
        let _ = self.venue.set(venue);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A rule is broken; the first one counts.
    pub fn breaks(&self, rule: &'static str, what: String) {
        self.fates.tell(|| format!("BROKEN {rule}: {what}"));
        self.lock().broken.get_or_insert(Broken { rule, what });
    }

    /// The first rule that was broken.
    pub fn broken(&self) -> Option<Broken> {
        self.lock().broken.clone()
    }

    /// What was seen besides.
    pub fn seen(&self) -> Seen {
        let state = self.lock();
        Seen { posts: state.posts, zombies: state.zombies, late: state.after_all }
    }

    /// Orders that the ledger had given up when they landed, or was made to: they are beyond its caps.
    pub fn late(&self) -> BTreeSet<OrderId> {
        self.lock().late.clone()
    }

    fn now(&self) -> Timestamp {
        START.plus(self.agenda.elapsed())
    }

    fn row(&self, id: OrderId) -> Option<Attempt> {
        self.ledger.attempts().into_iter().find(|a| a.order_id == Some(id))
    }

    /// A process took a partition.
    pub fn claimed(
        &self,
        place: &'static str,
        owner: &str,
        partition: i32,
        before: Option<&str>,
        claim: &Claim,
    ) {
        let mut state = self.lock();
        let alive = before.is_some_and(|b| b != owner && state.owners.values().any(|o| o == b));
        state.zombies += u64::from(alive);
        state.owners.insert(place, owner.to_owned());
        drop(state);
        let epoch = claim.epoch;
        self.fates.tell(|| {
            format!(
                "{place} owns partition {partition} under epoch {epoch}{}",
                if alive { ", from a process that is alive" } else { "" }
            )
        });
    }

    /// The process at a place is gone.
    pub fn died(&self, place: &'static str) {
        self.lock().owners.remove(place);
    }

    /// A process hands an order to the network, by its own clock at `now`.
    pub fn sent(&self, place: &'static str, id: OrderId, body: &[u8], now: Timestamp) {
        self.lock().posts += 1;
        // 3: nothing is sent that was not committed first, and nothing else than what was committed.
        let Some(row) = self.row(id) else {
            return self.breaks("sent what was not committed", format!("order {id} is in no row"));
        };
        if row.body.as_ref().is_none_or(|stored| stored.0 != body) {
            self.breaks("sent other bytes than were committed", format!("order {id}"));
        }
        let first = *self.lock().sent.entry(row.key()).or_insert(id);
        if first != id {
            self.breaks("signed an attempt twice", format!("{:?}: {first}, then {id}", row.key()));
        }
        self.timely(&row, now);
        self.leased(place, &row);
    }

    /// 6.3: a BUY only while its fill is young, a GTD only with enough of its life left.
    fn timely(&self, row: &Attempt, now: Timestamp) {
        if row.side == Side::Buy && now > row.send_until {
            self.breaks("sent a BUY that was too old", format!("order {:?}", row.order_id));
        }
        let lives = row.expires_at.is_none_or(|at| now.plus(LEAST_LIFE) <= at);
        if row.order_type == Some(OrderType::Gtd) && !lives {
            self.breaks("sent a GTD order near its end", format!("order {:?}", row.order_id));
        }
        if row.status == OrderStatus::Denied {
            self.breaks("sent a denied order", format!("order {:?}", row.order_id));
        }
    }

    /// Two processes never may send for one partition at the same time.
    fn leased(&self, place: &'static str, row: &Attempt) {
        let owner = self.lock().owners.get(place).cloned();
        let Some((holder, until, from)) = self.ledger.lease(row.partition) else {
            return self.breaks("sent without a lease", format!("{place}, partition {}", row.partition));
        };
        let now = self.now();
        let may =
            if owner.as_deref() == Some(holder.as_str()) { now >= from && now < until } else { now < from };
        if !may {
            let what = format!(
                "{place} sends at {now:?}; the lease of {} runs from {from:?} to {until:?}",
                short(holder)
            );
            self.breaks("sent without the right to send", what);
        }
    }

    /// An order arrived at the venue, and this is what it said.
    pub fn arrived(&self, id: OrderId, outcome: &SubmitOutcome) {
        self.fates.tell(|| format!("venue: order {}: {outcome:?}", short(id)));
        let Some(venue) = self.venue.get() else { return };
        let taken = match outcome {
            SubmitOutcome::Accepted(_) => true,
            SubmitOutcome::Rejected { .. } => venue.orders().iter().any(|o| o.id == id),
            _ => false,
        };
        if !taken || self.lock().landed.contains_key(&id) {
            return;
        }
        self.lock().landed.insert(id, self.agenda.elapsed());
        let Some(row) = self.row(id) else {
            return self.breaks("the venue has what was not committed", format!("order {id}"));
        };
        if row.is_final {
            let mut state = self.lock();
            state.late.insert(id);
            state.after_all += 1;
        }
        self.judge_all(venue, &row);
    }

    /// The venue refuses an order that it will take: the caps cannot know.
    pub fn lied(&self, id: OrderId) {
        self.lock().late.insert(id);
    }

    /// Whether an order landed so shortly ago that the index may not know it.
    pub fn is_new(&self, id: OrderId) -> bool {
        let landed = self.lock().landed.get(&id).copied();
        landed.is_some_and(|at| self.agenda.elapsed() < at + BEHIND)
    }

    /// 1 and 4, by what stands at the venue now that an order came.
    fn judge_all(&self, venue: &Handle, new: &Attempt) {
        let (orders, trades) = (venue.orders(), venue.trades());
        let parts = parts(&orders, &trades);
        let rows: BTreeMap<OrderId, Attempt> =
            self.ledger.attempts().into_iter().filter_map(|a| Some((a.order_id?, a))).collect();
        let late = self.late();
        let tenant = self.plan_tenant(new);
        let Some(tenant) = tenant else { return };
        let wallet = self.wallets[tenant];
        let mine: Vec<Known<'_>> = orders
            .iter()
            .filter(|o| o.maker == wallet)
            .filter_map(|order| {
                let (row, part) = (rows.get(&order.id)?, parts.get(&order.id)?);
                Some(Known { order, row, part: *part, late: late.contains(&order.id) })
            })
            .collect();
        self.one_alive(new, &mine);
        match new.side {
            Side::Buy => self.caps(tenant, new, &mine),
            Side::Sell => self.oversold(new, &mine),
        }
    }

    fn plan_tenant(&self, row: &Attempt) -> Option<usize> {
        let tenants = 0..u8::try_from(self.plan.tenants.len()).unwrap_or(u8::MAX);
        tenants.into_iter().find(|n| account(*n) == row.billing_account_id).map(usize::from)
    }

    /// 1: at most one order for an attempt, one alive for a copy, one BUY for a fill.
    fn one_alive(&self, new: &Attempt, mine: &[Known<'_>]) {
        let same = mine.iter().filter(|k| k.row.key() == new.key()).count();
        if same > 1 {
            self.breaks("two orders for one attempt", format!("{:?}", new.key()));
        }
        let copy = mine.iter().filter(|k| k.row.idempotency_key == new.idempotency_key);
        if copy.clone().filter(|k| super::exposure::is_open(k.order)).count() > 1 {
            self.breaks("two orders of one copy alive", format!("{:?}", new.key()));
        }
        if new.side == Side::Buy && mine.iter().filter(|k| k.row.natural_key == new.natural_key).count() > 1 {
            self.breaks("two BUYs for one fill", new.natural_key.clone());
        }
    }

    /// 4: no cap is exceeded.
    fn caps(&self, tenant: usize, new: &Attempt, mine: &[Known<'_>]) {
        let now = self.now();
        // Whatever was in force since it was gated: where it changed, the most of it.
        let gated = new.created_at.minus(CLOCKS).since(START);
        let whose = u8::try_from(tenant).unwrap_or(u8::MAX);
        let caps = self.plan.caps(whose, gated, now.since(START));
        let most = |of: fn(&Caps) -> Usdc| caps.iter().map(of).max().unwrap_or_default();
        let buys: Vec<&Known<'_>> = mine.iter().filter(|k| k.order.side == Side::Buy && !k.late).collect();
        if !buys.iter().any(|k| k.row.key() == new.key()) {
            return;
        }
        let total = |of: &[&Known<'_>]| of.iter().map(|k| k.costs()).sum::<Usdc>();
        let cost = buys.iter().filter(|k| k.row.key() == new.key()).map(|k| k.costs()).sum::<Usdc>();
        let over = |what: &str, n: Usdc, cap: Usdc| {
            if n > cap {
                let text = format!("{what}: {n} of {cap}, with order {:?}", new.order_id);
                self.breaks("a cap is exceeded", text);
            }
        };
        over("one order", cost, most(|c| c.per_order));
        let day: Vec<_> = buys.iter().copied().filter(|k| within(k.order.accepted_at, now, 86_400)).collect();
        over("a day", total(&day), most(|c| c.daily));
        let hour = buys.iter().filter(|k| within(k.order.accepted_at, now, 3_600)).count();
        let hourly = caps.iter().map(|c| c.hourly).max().unwrap_or_default();
        if i64::try_from(hour).unwrap_or(i64::MAX) > hourly {
            self.breaks("a cap is exceeded", format!("an hour: {hour} orders of {hourly}"));
        }
        let follow = self
            .plan
            .follows
            .iter()
            .find(|f| usize::from(f.tenant) == tenant && crate::plan::target(f.wallet) == new.target_id);
        if let Some(cap) = follow.and_then(|f| f.policy.max_usdc_per_token)
            && let Some(cost) = Self::held_cost(mine, |k| k.token() == token_of(new))
        {
            over("a token", cost, cap);
        }
        // Where there was none for a while, there was none.
        let per_market: Option<Vec<Usdc>> = caps.iter().map(|c| c.per_market).collect();
        if let Some(cap) = per_market.and_then(|caps| caps.into_iter().max())
            && let Some(cost) = Self::condition_cost(mine, new)
        {
            over("a condition", cost, cap);
        }
    }

    /// What is held of some orders' tokens cost, and what is pending may. `None` where a sale of it failed: its room
    /// was given back when it filled, and nobody can take it back.
    fn held_cost(mine: &[Known<'_>], of: impl Fn(&Known<'_>) -> bool) -> Option<Usdc> {
        let (mut bought, mut sold, mut pending) = (Vec::new(), schemas::Shares::ZERO, Usdc::ZERO);
        for known in mine.iter().filter(|k| of(k)) {
            match known.order.side {
                Side::Buy if known.late => {}
                Side::Buy => {
                    bought.push((known.part.shares, known.part.usdc));
                    pending = pending.saturating_add(known.part.pending);
                }
                Side::Sell if known.part.fails => return None,
                Side::Sell => sold = sold.saturating_add(known.part.shares),
            }
        }
        Some(least_cost(bought, sold).saturating_add(pending))
    }

    fn condition_cost(mine: &[Known<'_>], new: &Attempt) -> Option<Usdc> {
        let tokens: BTreeSet<(TargetId, AssetId)> =
            mine.iter().filter(|k| k.row.condition_id == new.condition_id).map(Known::token).collect();
        let mut all = Usdc::ZERO;
        for token in tokens {
            all = all.saturating_add(Self::held_cost(mine, |k| k.token() == token)?);
        }
        Some(all)
    }

    /// 1: closes never sell more than was bought. Where a BUY's trade failed after it was sold, they did; and a SELL
    /// that the venue refused, and takes all the same, sells what the next one has sold by then.
    fn oversold(&self, new: &Attempt, mine: &[Known<'_>]) {
        let of: Vec<_> = mine.iter().filter(|k| k.token() == token_of(new)).collect();
        if of.iter().any(|k| k.order.side == Side::Buy && k.part.fails) {
            return;
        }
        let bought: schemas::Shares =
            of.iter().filter(|k| k.order.side == Side::Buy).map(|k| k.part.shares).sum();
        let sold: schemas::Shares = of
            .iter()
            .filter(|k| k.order.side == Side::Sell && !k.late)
            .map(|k| k.part.shares.saturating_add(k.part.unfilled))
            .sum();
        if sold > bought {
            self.breaks("sold more than was bought", format!("{sold} of {bought}: {:?}", new.order_id));
        }
    }
}

fn token_of(row: &Attempt) -> (TargetId, AssetId) {
    (row.target_id, row.asset.clone())
}

/// An order at the venue, with its row.
struct Known<'k> {
    order: &'k OrderView,
    row: &'k Attempt,
    part: Part,
    late: bool,
}

impl Known<'_> {
    fn token(&self) -> (TargetId, AssetId) {
        token_of(self.row)
    }

    /// What a BUY cost so far, and what it may still.
    fn costs(&self) -> Usdc {
        debug_assert!(size(self.order).is_positive());
        self.part.usdc.saturating_add(self.part.fees).saturating_add(self.part.pending)
    }
}
