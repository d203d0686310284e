"""A reader and writer of the log that shares no code with polymirror: confluent-kafka, fastavro, and the
schema files.

    readers.py JOB ANSWER

JOB is JSON: where the log is, and what was written to it. Every record is read from Kafka and held against
that, then written back under a schema id of its own choosing from schemas/registry.json. ANSWER gets the
places of what was written. Ends with 1 and a list of complaints where anything differs.
"""

import io
import json
import struct
import sys
import time
import uuid
from datetime import datetime, timedelta, timezone
from pathlib import Path

import fastavro
from confluent_kafka import OFFSET_BEGINNING, TIMESTAMP_CREATE_TIME, Consumer, Producer, TopicPartition

PATIENCE_S = 60
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


class Schemas:
    """The schemas of schemas/registry.json: the files, nothing else."""

    def __init__(self, root):
        self.by_id = {}
        self.newest = {}
        for entry in json.loads((root / "schemas/registry.json").read_text()):
            file = root / "schemas/released" / f"{entry['name']}.v{entry['version']}.avsc"
            schema = json.loads(file.read_text())
            # Bytes, not the 64-bit number: the least significant one comes first.
            canonical = fastavro.schema.to_parsing_canonical_form(schema)
            print_ = bytes.fromhex(fastavro.schema.fingerprint(canonical, "CRC-64-AVRO"))
            self.by_id[entry["id"]] = (entry["name"], fastavro.parse_schema(schema), print_)
            known = self.newest.get(entry["name"], (0, 0))
            self.newest[entry["name"]] = max(known, (entry["version"], entry["id"]))
        # What readers see today.
        self.today = {
            file.stem: fastavro.parse_schema(json.loads(file.read_text()))
            for file in (root / "schemas/avro").glob("*.avsc")
        }

    def read(self, framed):
        """Name, value and content hash of a value in the Confluent wire format."""
        magic, number = struct.unpack(">bI", framed[:5])
        if magic != 0:
            raise ValueError(f"it begins with {magic}")
        name, writer, fingerprint = self.by_id[number]
        rest = io.BytesIO(framed[5:])
        value = fastavro.schemaless_reader(rest, writer, self.today[name])
        if rest.read():
            raise ValueError("bytes are left over")
        return name, value, keccak256(fingerprint + framed[5:])

    def write(self, name, value):
        """The same, the other way."""
        _, number = self.newest[name]
        out = io.BytesIO()
        out.write(struct.pack(">bI", 0, number))
        fastavro.schemaless_writer(out, self.by_id[number][1], value, strict=True)
        return out.getvalue()


def plain(value):
    """A value as the JSON that it was told in."""
    match value:
        case datetime():
            return (value - EPOCH) // timedelta(microseconds=1)
        case uuid.UUID():
            return str(value)
        case bytes():
            return list(value)
        case dict():
            return {name: plain(inner) for name, inner in value.items()}
        case list():
            return [plain(inner) for inner in value]
        case _:
            return value


def murmur2(data):
    """The hash of Kafka's Java client, for keys."""
    mask, m = 0xFFFFFFFF, 0x5BD1E995
    h = 0x9747B28C ^ len(data)
    whole = len(data) // 4 * 4
    for (k,) in struct.iter_unpack("<I", data[:whole]):
        k = k * m & mask
        k = (k ^ k >> 24) * m & mask
        h = h * m & mask ^ k
    if data[whole:]:
        h = (h ^ int.from_bytes(data[whole:], "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    return h ^ h >> 15


def partition_of(key, count):
    return (murmur2(key.encode()) & 0x7FFFFFFF) % count


def keccak256(data):
    """Keccak as Ethereum has it; hashlib's SHA-3 pads otherwise."""
    mask, rate = (1 << 64) - 1, 136
    rotate = lambda x, n: (x << n | x >> 64 - n) & mask if n else x
    padded = bytearray(data + b"\x01" + bytes(-(len(data) + 1) % rate))
    padded[-1] ^= 0x80
    lanes = [[0] * 5 for _ in range(5)]
    for start in range(0, len(padded), rate):
        for i, (lane,) in enumerate(struct.iter_unpack("<Q", padded[start : start + rate])):
            lanes[i % 5][i // 5] ^= lane
        lfsr = 1
        for _ in range(24):
            parity = [a[0] ^ a[1] ^ a[2] ^ a[3] ^ a[4] for a in lanes]
            theta = [parity[x - 1] ^ rotate(parity[(x + 1) % 5], 1) for x in range(5)]
            lanes = [[lane ^ theta[x] for lane in lanes[x]] for x in range(5)]
            x, y, current = 1, 0, lanes[1][0]
            for t in range(24):
                x, y = y, (2 * x + 3 * y) % 5
                current, lanes[x][y] = lanes[x][y], rotate(current, (t + 1) * (t + 2) // 2 % 64)
            lanes = [
                [lanes[x][y] ^ (~lanes[(x + 1) % 5][y] & lanes[(x + 2) % 5][y]) for y in range(5)]
                for x in range(5)
            ]
            for j in range(7):
                if lfsr & 1:
                    lanes[0][0] ^= 1 << (1 << j) - 1
                lfsr = lfsr << 1 ^ (0x171 if lfsr & 0x80 else 0)
    return b"".join(struct.pack("<Q", lanes[i % 5][i // 5]) for i in range(4))


def read_all(job):
    """Every committed record, by (topic, partition, offset)."""
    consumer = Consumer(
        {
            "bootstrap.servers": job["brokers"],
            "group.id": job["prefix"] + "foreign",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
        }
    )
    places = [
        TopicPartition(job["prefix"] + topic, partition, OFFSET_BEGINNING)
        for topic, count in job["partitions"].items()
        for partition in range(count)
    ]
    consumer.assign(places)
    found, deadline = {}, time.monotonic() + PATIENCE_S
    while len(found) < len(job["records"]) and time.monotonic() < deadline:
        for message in consumer.consume(500, timeout=1):
            if message.error():
                raise RuntimeError(message.error())
            topic = message.topic().removeprefix(job["prefix"])
            found[topic, message.partition(), message.offset()] = message
    consumer.close()
    return found


def complaints(job, want, message, schemas):
    """What is wrong with a record, and its value."""
    name, value, content = schemas.read(message.value())
    headers = message.headers() or []
    first = {}
    for header, text in headers:
        first.setdefault(header, text and text.decode())
    says = {
        "record": (name, want["record"]),
        "value": (plain(value), want["value"]),
        "key": (message.key().decode(), want["key"]),
        "headers": ([[header, text and text.decode()] for header, text in headers], want["headers"]),
        "timestamp": (message.timestamp(), (TIMESTAMP_CREATE_TIME, want["timestamp_ms"])),
        "ce_type": (first.get("ce_type"), f"polymirror.{name}"),
        "ce_id": (first.get("ce_id"), content.hex()[:32]),
        "ce_time": (int(first.get("ce_time", "0")) // 1000, want["timestamp_ms"]),
    }
    if want["placed_by"] is not None:
        count = job["partitions"][want["topic"]]
        says["partition"] = (message.partition(), partition_of(want["placed_by"], count))
    return [f"{what}: read {got!r}, want {right!r}" for what, (got, right) in says.items() if got != right], value


def write_back(job, values, schemas):
    """Each record again, written by this program. Returns where each came to stand."""
    # librdkafka has Java's hash too: a third opinion on where a key belongs.
    producer = Producer(
        {"bootstrap.servers": job["brokers"], "partitioner": "murmur2_random", "acks": "all"}
    )
    answer, failed = {}, []

    def delivered(number):
        def note(error, message):
            if error:
                failed.append(f"record {number}: {error}")
            else:
                answer[number] = {"partition": message.partition(), "offset": message.offset()}

        return note

    for number, want in enumerate(job["records"]):
        by_key = want["placed_by"] == want["key"]
        producer.produce(
            job["prefix"] + want["topic"],
            key=want["key"].encode(),
            value=schemas.write(want["record"], values[number]),
            headers=[(header, text and text.encode()) for header, text in want["headers"]],
            timestamp=want["timestamp_ms"],
            on_delivery=delivered(number),
            **({} if by_key else {"partition": want["partition"]}),
        )
        producer.poll(0)
    if producer.flush(PATIENCE_S):
        failed.append("the broker did not take every record in time")
    return [answer.get(number) for number in range(len(job["records"]))], failed


def main(job_file, answer_file):
    # Known answers first: a wrong hash here would blame the log.
    assert murmur2(b"foobar") == -790332482 & 0xFFFFFFFF
    assert keccak256(b"").hex() == "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"
    assert keccak256(bytes(200)) != keccak256(bytes(201))

    job = json.loads(Path(job_file).read_text())
    schemas = Schemas(Path(job["root"]))
    found = read_all(job)
    wrong, values = [], []
    for want in job["records"]:
        where = (want["topic"], want["partition"], want["offset"])
        message = found.pop(where, None)
        if message is None:
            wrong.append(f"{want['record']} at {where}: not there")
            continue
        try:
            said, value = complaints(job, want, message, schemas)
        except Exception as error:  # whatever a reader may stumble over is the finding
            said, value = [f"not readable: {error!r}"], None
        wrong += [f"{want['record']} at {where}: {line}" for line in said]
        values.append(value)
    wrong += [f"{where}: nobody wrote that" for where in found]
    if not wrong:
        answer, wrong = write_back(job, values, schemas)
        Path(answer_file).write_text(json.dumps(answer))
    for line in wrong[:40]:
        print(line, file=sys.stderr)
    print(f"{len(job['records'])} records, {len(wrong)} complaints")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
