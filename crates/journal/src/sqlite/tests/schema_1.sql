-- A database of schema 1, as it was when that was the latest. Never changed.
PRAGMA application_id = 1346914892;
PRAGMA user_version = 1;
-- The one row that counts: positions are given from here and never again.
CREATE TABLE journal (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    position INTEGER NOT NULL,          -- the last that was given
    time INTEGER NOT NULL,              -- the latest time of an event, in ms
    recoveries INTEGER NOT NULL         -- how often service came back after a fault
) STRICT;
INSERT INTO journal VALUES (1, 0, 0, 0);

-- A stream's end outlives its events, so that no version is given again.
-- Internal streams have negative ids, public ones positive ones.
CREATE TABLE streams (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    space INTEGER NOT NULL,             -- 0 internal, 1 public
    kind INTEGER,                       -- 0 facts, 1 work; NULL before the first event
    last INTEGER,                       -- the version of the last event; NULL before the first
    last_position INTEGER,
    floor INTEGER NOT NULL,             -- nothing below this version is kept
    removed INTEGER NOT NULL,           -- what is below this version was removed
    max_count INTEGER,
    max_age INTEGER,                    -- in ms
    truncate_before INTEGER,
    tombstone INTEGER NOT NULL,
    due INTEGER NOT NULL,               -- whether the scavenger is to look at it once
    UNIQUE (name, space)
) STRICT;

-- Those that the scavenger looks at: some once, others time and again.
CREATE INDEX streams_due ON streams (id) WHERE due <> 0;
CREATE INDEX streams_limited ON streams (id) WHERE max_count IS NOT NULL OR max_age IS NOT NULL;

CREATE TABLE facts (
    position INTEGER PRIMARY KEY,
    stream INTEGER NOT NULL,
    version INTEGER NOT NULL,
    time INTEGER NOT NULL,
    id BLOB NOT NULL,
    kind TEXT NOT NULL,
    format INTEGER NOT NULL,            -- 0 JSON, 1 binary
    metadata BLOB NOT NULL,
    data BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX facts_by_stream ON facts (stream, version);

CREATE TABLE work (
    position INTEGER PRIMARY KEY,
    stream INTEGER NOT NULL,
    version INTEGER NOT NULL,
    time INTEGER NOT NULL,
    id BLOB NOT NULL,
    kind TEXT NOT NULL,
    format INTEGER NOT NULL,
    metadata BLOB NOT NULL,
    data BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX work_by_stream ON work (stream, version);

CREATE TABLE checkpoints (
    name TEXT NOT NULL,
    space INTEGER NOT NULL,
    version INTEGER,
    format INTEGER NOT NULL,
    data BLOB NOT NULL,                 -- all of it, when it is small
    generation INTEGER,                 -- that of its parts, when it is large
    parts INTEGER NOT NULL,             -- how many there are
    PRIMARY KEY (name, space)
) STRICT;

-- Written before the checkpoint that names them. Those that none names are deleted.
CREATE TABLE checkpoint_parts (
    generation INTEGER NOT NULL,
    part INTEGER NOT NULL,              -- counted from 0
    data BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX checkpoint_parts_by_generation ON checkpoint_parts (generation, part);

UPDATE journal SET position = 5, time = 1700000000005;
INSERT INTO streams VALUES (1, 'orders', 1, 0, 2, 4, 1, 0, NULL, NULL, 1, 0, 1);
INSERT INTO streams VALUES (2, 'queue', 1, 1, 1, 5, 0, 0, 1, NULL, NULL, 0, 0);
INSERT INTO streams VALUES (-1, 'nobody', 0, NULL, NULL, NULL, 0, 0, NULL, 60000, NULL, 0, 1);
INSERT INTO facts VALUES (1, 1, 0, 1700000000001, x'00000000000000000000000000000001', 'Placed', 0, x'', x'7b7d');
INSERT INTO facts VALUES (3, 1, 1, 1700000000003, x'00000000000000000000000000000003', 'Paid', 0, x'', x'7b7d');
INSERT INTO facts VALUES (4, 1, 2, 1700000000004, x'00000000000000000000000000000004', 'Sent', 1, x'6d', x'00');
INSERT INTO work VALUES (5, 2, 1, 1700000000005, x'00000000000000000000000000000005', 'Pack', 1, x'', x'01');
INSERT INTO checkpoints VALUES ('pillar', 0, NULL, 1, x'7374617465', NULL, 0);
INSERT INTO checkpoints VALUES ('large', 0, NULL, 1, x'', 4, 2);
INSERT INTO checkpoint_parts VALUES (4, 0, x'7477'), (4, 1, x'6f');
