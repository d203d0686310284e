//! Avro schemas made from the Rust types themselves, so that the two cannot drift apart.
//!
//! [`record!`] defines a record once: the struct, its serde form, its documentation and its Avro schema
//! with logical types and units. `schemas/avro/*.avsc` are these schemas written out for foreign readers;
//! a test holds the files against the types.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::{
    ids::{
        Address, AssetId, BillingAccountId, ConditionId, FillId, Hash32, IdempotencyKey, LogId, OrderId,
        TargetId, TargetRowId, TxHash, UserId,
    },
    money::{Price, Shares, Tick, Usdc},
    time::Timestamp,
};

/// The namespace of every named type.
pub const NAMESPACE: &str = "polymirror";

/// The named types already written in the schema at hand: Avro defines each once and refers to it after.
#[derive(Debug, Default)]
pub struct Names(BTreeSet<&'static str>);

impl Names {
    /// The schema of a record: in full the first time, by name after that.
    pub fn record(
        &mut self,
        name: &'static str,
        doc: &str,
        fields: impl FnOnce(&mut Self) -> Vec<Value>,
    ) -> Value {
        if !self.0.insert(name) {
            return json!(format!("{NAMESPACE}.{name}"));
        }
        let fields = fields(self);
        json!({ "type": "record", "name": name, "namespace": NAMESPACE, "doc": doc.trim(), "fields": fields })
    }
}

/// A type with an Avro schema.
pub trait AvroType {
    /// The schema, given the names already defined.
    fn avro(names: &mut Names) -> Value;

    /// What an older record, written before the field existed, stands for. Only types with a default may
    /// be added to a released record.
    fn avro_default() -> Option<Value> {
        None
    }
}

/// One field of a record.
pub fn field<T: AvroType>(names: &mut Names, name: &str, doc: &str) -> Value {
    let mut field = json!({ "name": name, "doc": doc.trim(), "type": T::avro(names) });
    if let Some(default) = T::avro_default() {
        field["default"] = default;
    }
    field
}

macro_rules! avro_as {
    ($($ty:ty => $schema:expr;)*) => {
        $(impl AvroType for $ty {
            fn avro(_: &mut Names) -> Value { $schema }
        })*
    };
}

avro_as! {
    bool => json!("boolean");
    i32 => json!("int");
    i64 => json!("long");
    String => json!("string");
    bytes::Bytes => json!("bytes");
    Usdc => json!({ "type": "long", "unit": "1e-6 USDC" });
    Shares => json!({ "type": "long", "unit": "1e-6 shares" });
    Price => json!({ "type": "long", "unit": "1e-6 USDC per share" });
    Tick => json!({ "type": "long", "unit": "1e-6 USDC per share" });
    Timestamp => json!({ "type": "long", "logicalType": "timestamp-micros" });
    Address => json!({ "type": "string", "format": "0x and 40 lower-case hex digits" });
    TxHash => json!({ "type": "string", "format": "0x and 64 lower-case hex digits" });
    ConditionId => json!({ "type": "string", "format": "0x and 64 lower-case hex digits" });
    IdempotencyKey => json!({ "type": "string", "format": "0x and 64 lower-case hex digits" });
    OrderId => json!({ "type": "string", "format": "0x and 64 lower-case hex digits" });
    Hash32 => json!({ "type": "string", "format": "0x and 64 lower-case hex digits" });
    AssetId => json!({ "type": "string", "format": "decimal digits" });
    FillId => json!({ "type": "string", "format": "scheme:parts" });
    TargetId => json!({ "type": "string", "logicalType": "uuid" });
    TargetRowId => json!({ "type": "string", "logicalType": "uuid" });
    BillingAccountId => json!({ "type": "string", "logicalType": "uuid" });
    UserId => json!({ "type": "string", "logicalType": "uuid" });
    LogId => json!({ "type": "string", "logicalType": "uuid" });
}

impl<T: AvroType> AvroType for Option<T> {
    fn avro(names: &mut Names) -> Value {
        json!(["null", T::avro(names)])
    }
    fn avro_default() -> Option<Value> {
        Some(Value::Null)
    }
}

impl<T: AvroType> AvroType for Vec<T> {
    fn avro(names: &mut Names) -> Value {
        json!({ "type": "array", "items": T::avro(names) })
    }
}

/// A record that stands by itself in the log.
pub trait Event: AvroType + serde::Serialize + serde::de::DeserializeOwned + Send + Sync + 'static {
    /// The record's name, without namespace.
    const NAME: &'static str;

    /// Its schema, complete in itself.
    fn schema_json() -> Value {
        Self::avro(&mut Names::default())
    }
}

/// Defines a record: struct, serde form, documentation and Avro schema in one place. Every field needs a
/// doc comment: it becomes the field's documentation in the schema.
#[macro_export]
macro_rules! record {
    ($(#[doc = $doc:literal])+ $name:ident { $( $(#[doc = $fdoc:literal])+ $field:ident: $ty:ty, )* }) => {
        $(#[doc = $doc])+
        #[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        pub struct $name { $( $(#[doc = $fdoc])+ pub $field: $ty, )* }

        impl $crate::avro::AvroType for $name {
            fn avro(names: &mut $crate::avro::Names) -> serde_json::Value {
                names.record(stringify!($name), concat!($($doc,)+), |names| vec![
                    $($crate::avro::field::<$ty>(names, stringify!($field), concat!($($fdoc,)+)),)*
                ])
            }
        }

        impl $crate::avro::Event for $name {
            const NAME: &'static str = stringify!($name);
        }
    };
}
