//! A story told with a crash, or a lost answer, at each of its steps.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use execute::store::memory::Fate;

use super::{venue::Ask, world::World};

/// What happens, when it is over, and what is true then whatever went wrong meanwhile.
pub trait Story: Sized {
    /// How long it may take to its end.
    const PATIENCE: Duration;
    /// How long, where nobody dies.
    const UNTOUCHED: Duration;

    /// Puts everything into the world that will happen.
    async fn tell(world: &World) -> Self;

    /// Whether it is over. Asked again and again: what the venue does as time goes by, it does here.
    fn is_over(&self, world: &World) -> bool;

    /// Fails where a promise was not kept.
    fn judge(&self, world: &World);
}

async fn to_its_end<S: Story>(story: &S, world: &World) {
    world.until("the story ends", S::PATIENCE, || story.is_over(world)).await;
}

/// Crashes a process at its n-th call of ledger or venue; whether it came to that.
async fn crash_at<S: Story>(n: u32, after: bool) -> bool {
    let world = World::new();
    let story = S::tell(&world).await;
    let (count, dead) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
    let dies = move |count: &AtomicU32, dead: &AtomicBool| -> bool {
        if dead.load(Ordering::SeqCst) || count.fetch_add(1, Ordering::SeqCst) + 1 != n {
            return dead.load(Ordering::SeqCst);
        }
        dead.store(true, Ordering::SeqCst);
        true
    };
    let victim = world.start_with(|store, venue| {
        let (c, d) = (count.clone(), dead.clone());
        store.on_call(Some(Arc::new(move |_| {
            let was_dead = d.load(Ordering::SeqCst);
            match (dies(&c, &d), after && !was_dead) {
                (false, _) => Fate::Fine,
                (true, true) => Fate::DiesAfter,
                (true, false) => Fate::DiesBefore,
            }
        })));
        let (c, d) = (count.clone(), dead.clone());
        venue.on_ask(move |_, _| if dies(&c, &d) { Ask::Die } else { Ask::Answer });
    });
    world
        .until("it dies, or is done", S::UNTOUCHED, || {
            // Also of a process that is dead: the venue goes on.
            let over = story.is_over(&world);
            over || dead.load(Ordering::SeqCst)
        })
        .await;
    let died = dead.load(Ordering::SeqCst);
    victim.kill().await;
    let heir = world.start();
    to_its_end(&story, &world).await;
    heir.stop(&world).await;
    story.judge(&world);
    died
}

/// A process dies at each of its calls, before or after it took effect, and another goes on.
pub async fn crash_everywhere<S: Story>(after: bool) {
    let mut points = 0;
    while crash_at::<S>(points + 1, after).await {
        points += 1;
    }
    assert!(points > 40, "{points} points");
}

/// The process lives on, and its n-th call of the ledger comes to this, for each n.
pub async fn lose_everywhere<S: Story>(fate: Fate) {
    for n in 1.. {
        let world = World::new();
        let story = S::tell(&world).await;
        let count = Arc::new(AtomicU32::new(0));
        let executor = world.start_with(|store, _| {
            let count = count.clone();
            store.on_call(Some(Arc::new(move |name| {
                // What is asked for once at the start fails the start: that is said, and not survived.
                if name.starts_with("agreed") || count.fetch_add(1, Ordering::SeqCst) + 1 != n {
                    Fate::Fine
                } else {
                    fate
                }
            })));
        });
        to_its_end(&story, &world).await;
        executor.stop(&world).await;
        story.judge(&world);
        if count.load(Ordering::SeqCst) < n {
            assert!(n > 40, "{n} calls");
            return;
        }
    }
}
