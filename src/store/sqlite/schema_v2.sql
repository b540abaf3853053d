CREATE TABLE saved_scopes (
    id        INTEGER PRIMARY KEY,
    thread    TEXT NOT NULL,
    namespace TEXT NOT NULL
);
CREATE UNIQUE INDEX saved_scopes_key ON saved_scopes (thread, namespace);
CREATE TABLE saved_checkpoints (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    scope      INTEGER NOT NULL,
    checkpoint TEXT    NOT NULL,
    parent     TEXT,
    run        TEXT,
    meta       BLOB    NOT NULL,
    body       BLOB    NOT NULL
);
CREATE UNIQUE INDEX saved_checkpoints_key ON saved_checkpoints (scope, checkpoint);
CREATE INDEX saved_checkpoints_run ON saved_checkpoints (run) WHERE run IS NOT NULL;
CREATE TABLE saved_values (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    scope   INTEGER NOT NULL,
    channel TEXT    NOT NULL,
    version TEXT    NOT NULL,
    kind    TEXT    NOT NULL,
    base    INTEGER,
    depth   INTEGER NOT NULL,
    data    BLOB
);
CREATE INDEX saved_values_key ON saved_values (scope, channel, version);
CREATE TABLE saved_refs (
    checkpoint INTEGER NOT NULL,
    value      INTEGER NOT NULL,
    PRIMARY KEY (checkpoint, value)
) WITHOUT ROWID;
CREATE TABLE saved_writes (
    id         INTEGER PRIMARY KEY,
    scope      INTEGER NOT NULL,
    checkpoint TEXT    NOT NULL,
    task       TEXT    NOT NULL,
    idx        INTEGER NOT NULL,
    path       TEXT    NOT NULL,
    channel    TEXT    NOT NULL,
    kind       TEXT    NOT NULL,
    data       BLOB    NOT NULL
);
CREATE UNIQUE INDEX saved_writes_key ON saved_writes (scope, checkpoint, task, idx);
