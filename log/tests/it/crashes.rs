//! Whatever clients, flushes, faults and crashes do together: after each recovery everything that was acknowledged is
//! there, once, at its offset.

use std::pin::Pin;
use std::time::Duration;

use futures::FutureExt;
use streamhouse_log::append::validate::Prepared;
use streamhouse_log::append::{Acks, AppendError, Staged};
use streamhouse_log::read::PartitionAddress;
use streamhouse_log::retention::TrimError;
use streamhouse_log::shard_for_partition;
use streamhouse_metadata::store::{NewTopic, TopicShelf};
use streamhouse_protocol::ids::{PartitionIndex, TopicId, TopicPartition};
use streamhouse_protocol::names::TopicName;
use streamhouse_runtime::{Chance, SeededChance};
use streamhouse_storage::wal::crash::CrashStyle;

use crate::model::{Model, Partition, Producer, Sent, check_nothing_leaks, check_shelves};
use crate::world::{SHARDS, World, address, batch, rules, sequenced};

/// Worlds per default run; `STREAMHOUSE_TEST_SCALE` multiplies. Each lives a few lives.
const WORLDS: u64 = 60;
const LIVES: usize = 4;
const STEPS: usize = 25;
/// After this long the objects have forgotten that their store asked for fewer requests, or did not answer.
const COMPLAINTS_LAST: Duration = Duration::from_secs(200);

fn scale() -> u64 {
    let scale = std::env::var("STREAMHOUSE_TEST_SCALE").ok();
    scale.and_then(|scale| scale.parse().ok()).unwrap_or(1)
}

fn below(chance: &dyn Chance, bound: usize) -> usize {
    usize::try_from(chance.below(bound as u64)).unwrap()
}

/// Where the answer of a staged batch belongs.
struct Waiting {
    partition: i32,
    producer: Option<i64>,
    values: Vec<String>,
    staged: Staged,
}

struct Life<'a> {
    world: &'a mut World,
    model: &'a mut Model,
    chance: &'a SeededChance,
    waiting: Vec<Waiting>,
    trims: Vec<Trimming>,
}

type Trimming = Pin<Box<dyn Future<Output = Result<i64, TrimError>>>>;

impl Life<'_> {
    /// Stages a batch, of an idempotent producer or of none.
    fn produce(&mut self) -> Result<(), String> {
        let index = i32::try_from(self.chance.below(3)).unwrap();
        let count = 1 + self.chance.below(3);
        let producer =
            (self.chance.below(3) > 0).then(|| i64::try_from(self.chance.below(3)).unwrap());
        let values = self.model.values(count);
        let text: Vec<&str> = values.iter().map(String::as_str).collect();
        let partition = self.model.partitions.entry(index).or_default();
        let bytes = match producer {
            None => batch(&text),
            Some(id) => {
                let known = partition.producers.entry(id).or_default();
                if known
                    .sent
                    .last()
                    .is_some_and(|sent| sent.base_offset.is_none())
                {
                    // As a client does: what has no answer is tried again before anything new.
                    return self.retry(index, id);
                }
                let sequence = known.next_sequence;
                known.next_sequence += i32::try_from(count).unwrap();
                let batch = sequenced(id, 0, sequence, &text);
                known.sent.push(Sent {
                    values: values.clone(),
                    batch: batch.clone(),
                    base_offset: None,
                });
                if known.sent.len() > 5 {
                    known.sent.remove(0);
                }
                batch
            }
        };
        partition.sent.extend(values.iter().cloned());
        self.stage(index, producer, values, &bytes)
    }

    fn stage(
        &mut self,
        partition: i32,
        producer: Option<i64>,
        values: Vec<String>,
        bytes: &bytes::Bytes,
    ) -> Result<(), String> {
        match self.world.stage(partition, bytes) {
            Ok(staged) => self.waiting.push(Waiting {
                partition,
                producer,
                values,
                staged,
            }),
            Err(AppendError::Full) => {
                let known = self.model.partitions.get_mut(&partition).unwrap();
                if producer.is_none() {
                    known.sent.retain(|value| !values.contains(value));
                }
            }
            Err(error) => return Err(format!("partition {partition} refused {values:?}: {error}")),
        }
        Ok(())
    }

    /// Sends a remembered batch once more.
    fn retry(&mut self, index: i32, id: i64) -> Result<(), String> {
        let known: &Producer = &self.model.partitions[&index].producers[&id];
        if known.sent.is_empty() {
            return Ok(());
        }
        // Without an answer it is the last one; else any of those that must be known.
        let place = match known.sent.last() {
            Some(last) if last.base_offset.is_none() => known.sent.len() - 1,
            Some(_) | None => below(self.chance, known.sent.len()),
        };
        let sent = known.sent[place].clone();
        self.stage(index, Some(id), sent.values, &sent.batch)
    }

    /// Waits for every answer.
    async fn settle(&mut self) -> Result<(), String> {
        for trim in self.trims.drain(..) {
            trim.await.map_err(|error| error.to_string())?;
        }
        for waiting in std::mem::take(&mut self.waiting) {
            let answer = waiting
                .staged
                .acknowledged()
                .await
                .map_err(|error| error.to_string())?;
            let partition = self.model.partitions.get_mut(&waiting.partition).unwrap();
            partition.acknowledged(answer.base_offset, &waiting.values)?;
            if let Some(producer) = waiting
                .producer
                .and_then(|id| partition.producers.get_mut(&id))
            {
                for sent in producer
                    .sent
                    .iter_mut()
                    .filter(|sent| sent.values == waiting.values)
                {
                    if sent
                        .base_offset
                        .is_some_and(|first| first != answer.base_offset)
                    {
                        return Err(format!(
                            "a duplicate of {:?} got another offset",
                            waiting.values
                        ));
                    }
                    sent.base_offset = Some(answer.base_offset);
                }
            }
        }
        Ok(())
    }

    async fn trim(&mut self) -> Result<(), String> {
        self.settle().await?;
        let index = i32::try_from(self.chance.below(3)).unwrap();
        let Some(partition) = self.model.partitions.get_mut(&index) else {
            return Ok(());
        };
        let end = partition
            .bound
            .last_key_value()
            .map_or(0, |(last, _)| last + 1);
        let to = i64::try_from(self.chance.below(end.unsigned_abs() + 1)).unwrap();
        partition.trim_asked = partition.trim_asked.max(to);
        let log = self.world.log().clone();
        let mut trim: Trimming =
            Box::pin(async move { log.delete_records(address(index), Some(to)).await });
        if self.chance.below(4) == 0 {
            // Asked; the answer comes later, or never.
            if futures::poll!(&mut trim).is_pending() {
                self.trims.push(trim);
            }
            return Ok(());
        }
        let log_start = trim.await.map_err(|error| error.to_string())?;
        partition.log_start = partition.log_start.max(log_start);
        Ok(())
    }

    async fn evict(&mut self) -> Result<(), String> {
        self.settle().await?;
        let is_awaited = |partition: &Partition| {
            let unanswered = |producer: &Producer| {
                producer
                    .sent
                    .last()
                    .is_some_and(|sent| sent.base_offset.is_none())
            };
            partition.producers.values().any(unanswered)
        };
        // A client that still tries again would be taken for a new one.
        if self.model.partitions.values().any(is_awaited) {
            return Ok(());
        }
        // An hour later: everyone is idle.
        self.world.log().evict_producers(-1);
        for partition in self.model.partitions.values_mut() {
            for producer in partition.producers.values_mut() {
                producer.sent.clear();
            }
        }
        Ok(())
    }

    /// Flushes and checkpoints, with or without faults, and reads meanwhile.
    async fn upkeep(&mut self, checkpoint: bool) -> Result<(), String> {
        let ill = self.chance.below(2) == 0;
        self.world.faults.draw(if ill { 250 } else { 0 });
        self.world.store.draw(if ill { 400 } else { 0 });
        // It lists, which takes longer than all the rest.
        let sweeps_orphans = self.chance.below(20) == 0;
        let work = async {
            // A failure loses nothing, and is not what is judged.
            let _ = self.world.log().flush().await;
            if checkpoint {
                let _ = self.world.log().checkpoint_all().await;
            }
            let _ = self.world.log().sweep().await;
            if sweeps_orphans {
                let _ = self.world.log().sweep_orphans().await;
            }
        };
        self.world.turning(work).await;
        self.world.faults.draw(0);
        self.world.store.draw(0);
        // A store that complained is asked slowly for minutes, and this clock stands still while nobody moves it.
        self.world.clock.advance(COMPLAINTS_LAST);
        Ok(())
    }

    /// Starts a flush and leaves it somewhere in the middle, as a process does that dies there.
    async fn flush_in_part(&mut self) {
        let log = self.world.log().clone();
        let mut flush = Box::pin(async move { log.flush().await });
        for _ in 0..self.chance.below(40) {
            if futures::poll!(&mut flush).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
    }

    /// A topic that is made, written, and deleted; how far its deletion comes is left to chance.
    async fn short_lived_topic(&mut self) -> Result<(), String> {
        let (address, topic) = short_lived(self.chance.next_u128());
        let id = topic.id;
        self.world.store.create_topic(topic).await.unwrap();
        let prepared = Prepared::new(&batch(&["gone"]), 0, &rules(), 1_000_000).unwrap();
        let staged = self
            .world
            .log()
            .stage(address, prepared, Acks::All)
            .unwrap();
        if self.chance.below(2) == 0 {
            staged.acknowledged().await.unwrap();
            self.upkeep(false).await?;
        }
        self.world.store.delete_topic(id).await.unwrap();
        let partitions = [address];
        let dropped = self.world.log().drop_topic(&partitions);
        match self.chance.below(3) {
            0 => {}
            1 => {
                let _ = dropped.now_or_never();
            }
            _ => dropped.await.map_err(|error| error.to_string())?,
        }
        let settled = self.world.log().settle_tombstones();
        settled.await.map_err(|error| error.to_string())
    }

    async fn step(&mut self) -> Result<(), String> {
        match self.chance.below(20) {
            0..11 => self.produce(),
            11 | 12 => {
                let index = i32::try_from(self.chance.below(3)).unwrap();
                let id = i64::try_from(self.chance.below(3)).unwrap();
                match self.model.partitions.get(&index) {
                    Some(partition) if partition.producers.contains_key(&id) => {
                        self.retry(index, id)
                    }
                    Some(_) | None => Ok(()),
                }
            }
            13 => self.settle().await,
            14 => self.trim().await,
            15 if self.chance.below(4) == 0 => self.evict().await,
            16 => {
                self.settle().await?;
                self.model.judge(self.world).await
            }
            17 => {
                self.world
                    .clock
                    .advance(Duration::from_secs(self.chance.below(400)));
                Ok(())
            }
            18 if self.chance.below(2) == 0 => self.short_lived_topic().await,
            18 => self.upkeep(true).await,
            _ => self.upkeep(false).await,
        }
    }
}

const STYLES: [CrashStyle; 6] = [
    CrashStyle::Kill,
    CrashStyle::Forget,
    CrashStyle::Torn,
    CrashStyle::Sectors,
    CrashStyle::Sectors,
    CrashStyle::Sectors,
];

async fn live(seed: u64, lies: bool) -> Result<(), String> {
    let chance = SeededChance::new(seed);
    let mut world = World::seeded(seed).await;
    world.settings.checkpoint_manifests = 1 + chance.below(6);
    world.settings.tail_bytes = [0, 300, 48 << 20][below(&chance, 3)];
    let mut model = Model::default();
    for _ in 0..LIVES {
        if lies {
            world.disk.ignore_syncs();
        }
        world.try_start().await.map_err(|error| error.to_string())?;
        model.judge(&world).await?;
        check_shelves(&world).await?;
        let mut life = Life {
            world: &mut world,
            model: &mut model,
            chance: &chance,
            waiting: Vec::new(),
            trims: Vec::new(),
        };
        for _ in 0..STEPS {
            life.step().await?;
        }
        life.settle().await?;
        let since = life.world.disk.moment();
        for _ in 0..chance.below(6) {
            life.produce()?;
        }
        // A manifest that is committed covers the WAL's records, so the crash cannot lie before it.
        let mut since = since;
        if chance.below(3) == 0 {
            life.flush_in_part().await;
            since = life.world.disk.moment();
        }
        // What has no answer yet may be there afterwards, or not.
        drop(std::mem::take(&mut life.waiting));
        let history = world.disk.history();
        let moment = since + below(&chance, history.len() - since + 1);
        let style = STYLES[below(&chance, STYLES.len())];
        world.die(history.crash_at(moment, style, &chance));
    }
    end(&mut world, &mut model, seed.is_multiple_of(6)).await
}

/// One more life, in which everything comes to rest.
async fn end(world: &mut World, model: &mut Model, lists_objects: bool) -> Result<(), String> {
    world.try_start().await.map_err(|error| error.to_string())?;
    model.judge(world).await?;
    world
        .log()
        .flush()
        .await
        .map_err(|error| error.to_string())?;
    model.judge(world).await?;
    check_shelves(world).await?;
    // Deleted topics leave nothing behind.
    for _ in 0..2 {
        let settled = world.log().settle_tombstones().await;
        settled.map_err(|error| error.to_string())?;
        settle_wal(world).await;
        world
            .log()
            .flush()
            .await
            .map_err(|error| error.to_string())?;
    }
    let settled = world.log().settle_tombstones().await;
    settled.map_err(|error| error.to_string())?;
    if lists_objects {
        check_nothing_leaks(world).await?;
    }
    check_shelves(world).await?;
    for (index, partition) in &model.partitions {
        world.values(*index, partition.log_start).await;
    }
    let left = world.store.topics().await.unwrap().tombstones;
    if left.is_empty() {
        Ok(())
    } else {
        Err(format!("topics are left: {left:?}"))
    }
}

/// Waits until what was staged is durable.
async fn settle_wal(world: &World) {
    let prepared = Prepared::new(&batch(&["settled"]), 0, &rules(), 1_000_000).unwrap();
    let staged = world.log().stage(address(0), prepared, Acks::All).unwrap();
    staged.acknowledged().await.unwrap();
}

/// A topic of one partition, and where that is.
fn short_lived(id: u128) -> (PartitionAddress, NewTopic) {
    let at = TopicPartition::new(TopicId(id), PartitionIndex(0));
    let shard = shard_for_partition(at, SHARDS);
    let topic = NewTopic {
        id: at.topic,
        name: TopicName::new(&format!("t-{id:x}")).unwrap(),
        partitions: vec![shard],
        configs: std::collections::BTreeMap::new(),
        created_ms: 0,
    };
    (PartitionAddress { at, shard }, topic)
}

fn run(seed: u64, lies: bool) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(live(seed, lies))
}

#[test]
fn every_life_finds_what_the_one_before_acknowledged() {
    for seed in 0..WORLDS * scale() {
        run(seed, false).unwrap_or_else(|error| panic!("world {seed}: {error}"));
    }
}

#[test]
fn a_disk_that_ignores_syncs_is_caught() {
    let caught = (0..8).filter(|seed| run(*seed, true).is_err()).count();
    assert!(caught >= 4, "only {caught} of 8 lying disks were caught");
}
