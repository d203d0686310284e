//! Samples of every record, made from the schemas themselves: a record or a field that is added is sampled
//! without anybody writing so. Shared with the test of foreign readers (`tests/tests/foreign`).
//!
//! A sample is JSON, the form in which another program would say what it read.
#![allow(
    dead_code,
    clippy::wildcard_imports,
    reason = "each test binary uses its part; every record is named below"
)]

use std::{collections::BTreeMap, fmt::Debug};

use schemas::{avro::Event, events::*, topics::Topic};
use serde_json::{Map, Value, json};

/// How a sample is filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Everything optional is there, arrays hold two, values are plausible.
    Full,
    /// Nothing optional is there, arrays are empty, numbers are zero.
    Empty,
    /// By chance, the ends of every range among it.
    Mixed,
}

/// A record as JSON.
#[derive(Debug, Clone)]
pub struct Sample {
    /// The record's name.
    pub name: &'static str,
    /// The topic it stands in.
    pub topic: Topic,
    /// How it is filled.
    pub shape: Shape,
    /// The record.
    pub value: Value,
}

/// One full and one empty sample of every record, and `mixed` by chance. The same ones every time.
pub fn samples(mixed: usize) -> Vec<Sample> {
    let mut dice = Dice(0x5eed);
    let mut samples = Vec::new();
    for record in all_records() {
        let shapes = [Shape::Full, Shape::Empty].into_iter().chain(std::iter::repeat_n(Shape::Mixed, mixed));
        for shape in shapes {
            let value = Maker { shape, dice: &mut dice, names: BTreeMap::new() }.value(&record.schema, "");
            samples.push(Sample { name: record.name, topic: record.topic, shape, value });
        }
    }
    samples
}

/// Something done with a record's type.
pub trait Visitor {
    /// What comes of it.
    type Out;
    /// With the record's own type, and that of all records of its topic.
    fn visit<E: Event + PartialEq + Debug, T: TopicEvents + From<E> + PartialEq + Debug>(self) -> Self::Out;
}

macro_rules! types {
    ($($topic:ident { $($record:ident)* })*) => {
        /// Does it for the record of that name.
        pub fn visit<V: Visitor>(name: &str, visitor: V) -> V::Out {
            match name {
                $($(<$record as Event>::NAME => visitor.visit::<$record, $topic>(),)*)*
                other => panic!("{other} is missing here: list it with its topic"),
            }
        }
    };
}

types! {
    FillsEvent { Fill FillVoided PositionSnapshot PositionChanged Watermark TokenMarked TokenResolved }
    TargetsEvent { TargetState CloseRequested }
    OrdersEvent { OrderState }
    DecisionsEvent { Cut Decision }
    IntentsEvent { PlaceIntent CloseIntent CancelIntent MigrateIntent }
    ControlsEvent { ControlState GrantState ConnectionState }
    MarketsEvent { MarketState MarketMarked MarketResolved }
    DecideStateEvent { StateSnapshot }
    DeadLettersEvent { DeadLetter Gap }
}

/// Chance that repeats: splitmix64.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(n).unwrap()).unwrap()
    }

    fn one_of<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }

    fn hex(&mut self, digits: usize) -> String {
        (0..digits)
            .map(|_| self.one_of(&['0', '1', '2', '3', '7', '9', 'a', 'b', 'c', 'd', 'e', 'f']))
            .collect()
    }
}

/// The last microsecond that Python's `datetime` can say: 9999-12-31.
const LATEST: i64 = 253_402_300_799_999_999;

/// What may stand in free text, and what may go wrong with it.
const TEXTS: [&str; 6] = ["", "plain", "žluťoučký kůň", "日本語", "🦀 \"quoted\" \\ \n\t", "nul\0inside"];

struct Maker<'a> {
    shape: Shape,
    dice: &'a mut Dice,
    /// Named types met so far: a schema defines each once and refers to it after.
    names: BTreeMap<String, Value>,
}

impl Maker<'_> {
    fn value(&mut self, schema: &Value, field: &str) -> Value {
        match schema {
            Value::String(name) => match self.names.get(name).cloned() {
                Some(known) => self.value(&known, field),
                None => self.plain(name, &Map::new(), field),
            },
            Value::Array(branches) => {
                let [null, some] = branches.as_slice() else { panic!("{field}: no optional value") };
                assert_eq!(null, "null", "{field}");
                // Both branches are walked, so that a name defined within is known afterwards.
                let value = self.value(some, field);
                match self.shape {
                    Shape::Full => value,
                    Shape::Empty => Value::Null,
                    Shape::Mixed => self.dice.one_of(&[value, Value::Null]),
                }
            }
            Value::Object(object) => {
                let kind = object["type"].as_str().unwrap();
                self.plain(kind, object, field)
            }
            other => panic!("{field}: {other} is no schema"),
        }
    }

    fn plain(&mut self, kind: &str, schema: &Map<String, Value>, field: &str) -> Value {
        match kind {
            "record" => {
                let name = format!("polymirror.{}", schema["name"].as_str().unwrap());
                self.names.insert(name, Value::Object(schema.clone()));
                let fields = schema["fields"].as_array().unwrap();
                let of = |f: &Value| f["name"].as_str().unwrap().to_owned();
                fields.iter().map(|f| (of(f), self.value(&f["type"], &of(f)))).collect()
            }
            "array" => {
                let count = match self.shape {
                    Shape::Full => 2,
                    Shape::Empty => 0,
                    Shape::Mixed => self.dice.below(4),
                };
                // Once more than needed, for the names within.
                let mut items: Vec<Value> =
                    (0..=count).map(|_| self.value(&schema["items"], field)).collect();
                items.truncate(count);
                Value::Array(items)
            }
            "boolean" => match self.shape {
                Shape::Full => json!(true),
                Shape::Empty => json!(false),
                Shape::Mixed => json!(self.dice.below(2) == 0),
            },
            "int" => json!(match self.shape {
                Shape::Full => 3,
                Shape::Empty => 0,
                Shape::Mixed => self.dice.one_of(&[0, 1, -1, 63, 64, -64, -65, i32::MIN, i32::MAX]),
            }),
            "long" => self.long(schema, field),
            "bytes" => {
                let bytes: Vec<u8> = match self.shape {
                    Shape::Full => (0..=255).collect(),
                    Shape::Empty => Vec::new(),
                    Shape::Mixed => self.dice.next().to_le_bytes().to_vec(),
                };
                json!(bytes)
            }
            "string" => self.text(schema, field),
            other => panic!("{field}: {other} is no type that samples know"),
        }
    }

    fn long(&mut self, schema: &Map<String, Value>, field: &str) -> Value {
        if schema.get("logicalType").and_then(Value::as_str) == Some("timestamp-micros") {
            return json!(match self.shape {
                Shape::Full => 1_790_000_000_123_456,
                Shape::Empty => 0,
                Shape::Mixed => self.dice.one_of(&[-1, 1, 999_999, 1_790_000_000_000_001, LATEST]),
            });
        }
        if field == "tick" {
            // The one number that not every integer may be.
            return json!(self.dice.one_of(&[100, 1_000, 10_000, 100_000]));
        }
        json!(match self.shape {
            Shape::Full => 4_650_000,
            Shape::Empty => 0,
            Shape::Mixed => {
                let any = self.dice.next().cast_signed();
                self.dice.one_of(&[0, 1, -1, i64::MIN, i64::MAX, any, any >> 20, any >> 40])
            }
        })
    }

    fn text(&mut self, schema: &Map<String, Value>, field: &str) -> Value {
        if let Some(words) = schema.get("words").and_then(Value::as_array) {
            return self.dice.one_of(words);
        }
        let key = |name: &str| schema.get(name).and_then(Value::as_str);
        json!(match (key("logicalType"), key("format")) {
            (Some("uuid"), _) => {
                let h = self.dice.hex(32);
                format!("{}-{}-{}-{}-{}", &h[..8], &h[8..12], &h[12..16], &h[16..20], &h[20..])
            }
            (_, Some("0x and 40 lower-case hex digits")) => format!("0x{}", self.dice.hex(40)),
            (_, Some("0x and 64 lower-case hex digits")) => format!("0x{}", self.dice.hex(64)),
            (_, Some("decimal digits")) => match self.shape {
                Shape::Empty => "0".to_owned(),
                _ => format!("7{:077}", self.dice.next()),
            },
            (_, Some("scheme:parts")) => format!("data-api:0x{}:1:BUY:1790000000", self.dice.hex(64)),
            (None, None) => match self.shape {
                Shape::Full => format!("some {field}"),
                Shape::Empty => String::new(),
                Shape::Mixed => self.dice.one_of(&TEXTS).to_owned(),
            },
            other => panic!("{field}: {other:?} is no text that samples know"),
        })
    }
}
