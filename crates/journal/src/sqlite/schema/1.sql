-- Positions are given from here, or from the last event that is there if that is later: so that a
-- commit that only appends does not write this page too. Whatever deletes an event writes it.
CREATE TABLE journal (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    position INTEGER NOT NULL,          -- none up to this one is given again
    time INTEGER NOT NULL,              -- no event gets an earlier time than this, in ms
    recoveries INTEGER NOT NULL         -- how often service came back after a fault
) STRICT;
INSERT INTO journal VALUES (1, 0, 0, 0);

-- A stream's end outlives its events, so that no version is given again. A stream of facts that keeps
-- them all has its end in its last event; the row is written when something else of it changes.
-- Internal streams have negative ids, public ones positive ones.
CREATE TABLE streams (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    space INTEGER NOT NULL,             -- 0 internal, 1 public
    kind INTEGER,                       -- 0 facts, 1 work; NULL before the first event
    last INTEGER,                       -- no version up to this one is given again; NULL for none
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
