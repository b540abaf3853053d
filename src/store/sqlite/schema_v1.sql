CREATE TABLE threads (
    id         INTEGER PRIMARY KEY,
    thread     TEXT    NOT NULL UNIQUE,
    epoch      INTEGER NOT NULL,
    owner      TEXT    NOT NULL,
    head_seq   INTEGER NOT NULL,
    status     TEXT    NOT NULL,
    wake_at    INTEGER,
    updated    INTEGER NOT NULL,
    last_event INTEGER NOT NULL,
    letters    INTEGER NOT NULL
);
CREATE INDEX threads_wake ON threads (wake_at) WHERE wake_at IS NOT NULL;
CREATE TABLE runs (
    id     INTEGER PRIMARY KEY,
    thread INTEGER NOT NULL,
    run    TEXT    NOT NULL,
    data   BLOB    NOT NULL
);
CREATE UNIQUE INDEX runs_key ON runs (thread, run);
CREATE TABLE checkpoints (
    id     INTEGER PRIMARY KEY,
    thread INTEGER NOT NULL,
    seq    INTEGER NOT NULL,
    run    TEXT    NOT NULL,
    data   BLOB    NOT NULL
);
CREATE UNIQUE INDEX checkpoints_key ON checkpoints (thread, seq);
CREATE TABLE channel_values (
    id      INTEGER PRIMARY KEY,
    thread  INTEGER NOT NULL,
    channel TEXT    NOT NULL,
    version INTEGER NOT NULL,
    kept    INTEGER NOT NULL,
    data    BLOB
);
CREATE UNIQUE INDEX channel_values_key ON channel_values (thread, channel, version);
CREATE TABLE events (
    id     INTEGER PRIMARY KEY,
    thread INTEGER NOT NULL,
    first  INTEGER NOT NULL,
    last   INTEGER NOT NULL,
    mark   INTEGER NOT NULL,
    data   BLOB    NOT NULL
);
CREATE UNIQUE INDEX events_key ON events (thread, last);
CREATE TABLE task_results (
    id     INTEGER PRIMARY KEY,
    thread INTEGER NOT NULL,
    node   TEXT    NOT NULL,
    data   BLOB    NOT NULL
);
CREATE UNIQUE INDEX task_results_key ON task_results (thread, node);
CREATE TABLE inbox (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    thread  INTEGER NOT NULL,
    at      INTEGER NOT NULL,
    applied INTEGER NOT NULL,
    dedupe  TEXT,
    data    BLOB
);
CREATE INDEX inbox_open ON inbox (thread, id) WHERE applied = 0;
CREATE UNIQUE INDEX inbox_dedupe ON inbox (thread, dedupe) WHERE dedupe IS NOT NULL;
CREATE TABLE effects (
    id     INTEGER PRIMARY KEY,
    key    TEXT NOT NULL UNIQUE,
    policy TEXT NOT NULL,
    data   BLOB
);
CREATE TABLE graphs (
    id   INTEGER PRIMARY KEY,
    hash TEXT NOT NULL UNIQUE,
    data BLOB NOT NULL
);
CREATE TABLE documents (
    id         INTEGER PRIMARY KEY,
    collection TEXT    NOT NULL,
    key        TEXT    NOT NULL,
    version    INTEGER NOT NULL,
    written    INTEGER NOT NULL,
    data       BLOB    NOT NULL
);
CREATE UNIQUE INDEX documents_key ON documents (collection, key);
CREATE INDEX documents_newest ON documents (collection, written);
