-- Format 1. Once released, this file is never edited: later formats are further migrations.
--
-- Ids are 16 bytes with the realm's name behind them. `back` is the previous row of the same run.
-- `body` stands last, so that the small columns of a row with a large body are on its first page.

CREATE TABLE journal (
  seq INTEGER PRIMARY KEY,
  run BLOB NOT NULL,
  back INTEGER NOT NULL,
  kind INTEGER NOT NULL,
  hash BLOB NOT NULL,
  body BLOB NOT NULL
) STRICT;

-- `run` is null for an entry about the site itself; salt and body are null once forgotten.
CREATE TABLE audit (
  seq INTEGER PRIMARY KEY,
  realm TEXT NOT NULL,
  run BLOB,
  back INTEGER NOT NULL,
  hash BLOB NOT NULL,
  commitment BLOB NOT NULL,
  salt BLOB,
  body BLOB
) STRICT;

-- Where each run's rows end, and up to where its audit entries are forgotten.
CREATE TABLE tails (
  run BLOB PRIMARY KEY,
  journal INTEGER NOT NULL,
  audit INTEGER NOT NULL,
  forgotten INTEGER NOT NULL,
  sum BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- Numbered from 1 without gaps, in the order of their first write.
CREATE TABLE runs (
  no INTEGER PRIMARY KEY,
  run BLOB NOT NULL,
  status INTEGER NOT NULL,
  started_ms INTEGER NOT NULL,
  ended_ms INTEGER NOT NULL,
  sum BLOB NOT NULL,
  sealed_key BLOB,
  sealed_name BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX runs_run ON runs (run);

CREATE TABLE inbox (
  no INTEGER PRIMARY KEY,
  attempt BLOB NOT NULL,
  run BLOB NOT NULL,
  unit BLOB NOT NULL,
  token INTEGER NOT NULL,
  request BLOB NOT NULL,
  changed_ms INTEGER NOT NULL,
  sum BLOB NOT NULL,
  outcome BLOB
) STRICT;
CREATE UNIQUE INDEX inbox_attempt ON inbox (attempt);
CREATE INDEX inbox_run ON inbox (run);

-- The highest token seen for a unit of a run; kept when an inbox row is replaced or forgotten.
CREATE TABLE fences (
  run BLOB NOT NULL,
  unit BLOB NOT NULL,
  token INTEGER NOT NULL,
  sum BLOB NOT NULL,
  PRIMARY KEY (run, unit)
) STRICT, WITHOUT ROWID;

CREATE TABLE settings (
  no INTEGER PRIMARY KEY,
  realm TEXT NOT NULL,
  name TEXT NOT NULL,
  sum BLOB NOT NULL,
  value BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX settings_name ON settings (realm, name);

CREATE TABLE uses (
  run BLOB NOT NULL,
  blob BLOB NOT NULL,
  PRIMARY KEY (run, blob)
) STRICT, WITHOUT ROWID;

-- One row: how many transactions wrote no chained row, for the head file to compare.
CREATE TABLE counts (
  no INTEGER PRIMARY KEY CHECK (no = 1),
  unchained INTEGER NOT NULL,
  sum BLOB NOT NULL
) STRICT;

-- Every key of the tables above a second time, so that a key lost to damage is not taken for absent.
CREATE TABLE witness (
  key BLOB PRIMARY KEY
) STRICT, WITHOUT ROWID;
