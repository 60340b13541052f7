-- Types are those that both databases take: TEXT, BIGINT, BOOLEAN, BYTEA. Times are microseconds since 1970, UTC.
-- Every owned row has its project.

-- A server process, from its start on. `seen_us` is the only heartbeat there is.
CREATE TABLE servers (
    id TEXT PRIMARY KEY,
    version TEXT NOT NULL,
    host TEXT NOT NULL,
    boot_id TEXT NOT NULL,
    started_us BIGINT NOT NULL,
    seen_us BIGINT NOT NULL
);

CREATE TABLE projects (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    generation BIGINT NOT NULL,
    created_us BIGINT NOT NULL
);

-- Sandboxes of which something is left. Those of which nothing is are in `ended_sandboxes`.
CREATE TABLE sandboxes (
    id TEXT PRIMARY KEY,
    project_id TEXT NOT NULL REFERENCES projects (id),
    name TEXT,
    -- What is wanted, and which wish it is.
    desired TEXT NOT NULL,
    generation BIGINT NOT NULL,
    -- What is, as last seen, and for which wish that was done.
    state TEXT NOT NULL,
    detail TEXT,
    observed_generation BIGINT NOT NULL,
    incarnation BIGINT NOT NULL,
    -- Who acts for it, under which token.
    server_id TEXT,
    token BIGINT NOT NULL,
    -- Where it is: facts by which it is found again.
    place TEXT,
    -- Not before: after a failure.
    next_try_us BIGINT NOT NULL,
    spec TEXT NOT NULL,
    created_us BIGINT NOT NULL,
    updated_us BIGINT NOT NULL,
    active_us BIGINT NOT NULL,
    expires_us BIGINT
);
CREATE UNIQUE INDEX sandboxes_name ON sandboxes (project_id, name);
CREATE INDEX sandboxes_newest ON sandboxes (project_id, created_us, id);
-- What is to be done: few rows, whatever the number of sandboxes.
CREATE INDEX sandboxes_unsettled ON sandboxes (updated_us) WHERE observed_generation < generation;

CREATE TABLE ended_sandboxes (
    id TEXT PRIMARY KEY,
    project_id TEXT NOT NULL REFERENCES projects (id),
    name TEXT,
    reason TEXT NOT NULL,
    spec TEXT NOT NULL,
    created_us BIGINT NOT NULL,
    ended_us BIGINT NOT NULL
);
CREATE INDEX ended_sandboxes_newest ON ended_sandboxes (project_id, created_us, id);
CREATE INDEX ended_sandboxes_oldest ON ended_sandboxes (ended_us);

-- Executions without an end: as many as there is work at hand.
CREATE TABLE executions (
    id TEXT PRIMARY KEY,
    project_id TEXT NOT NULL REFERENCES projects (id),
    sandbox_id TEXT NOT NULL,
    state TEXT NOT NULL,
    kind TEXT NOT NULL,
    language TEXT,
    request BYTEA NOT NULL,
    server_id TEXT,
    token BIGINT NOT NULL,
    incarnation BIGINT,
    cancel_requested_us BIGINT,
    created_us BIGINT NOT NULL,
    started_us BIGINT
);
CREATE INDEX executions_of_sandbox ON executions (sandbox_id, created_us, id);
CREATE INDEX executions_newest ON executions (project_id, created_us, id);
CREATE INDEX executions_oldest ON executions (created_us, id);
CREATE INDEX executions_cancelled ON executions (created_us, id) WHERE cancel_requested_us IS NOT NULL;

-- Executions with their end: appended to, read by id or newest first, deleted from when old.
CREATE TABLE finished_executions (
    id TEXT PRIMARY KEY,
    project_id TEXT NOT NULL REFERENCES projects (id),
    sandbox_id TEXT NOT NULL,
    state TEXT NOT NULL,
    kind TEXT NOT NULL,
    language TEXT,
    result TEXT NOT NULL,
    created_us BIGINT NOT NULL,
    started_us BIGINT,
    finished_us BIGINT NOT NULL
);
CREATE INDEX finished_executions_of_sandbox ON finished_executions (sandbox_id, created_us, id);
CREATE INDEX finished_executions_newest ON finished_executions (project_id, created_us, id);
CREATE INDEX finished_executions_oldest ON finished_executions (finished_us);

-- What happened, in the order of commits: a reader who has read up to a position misses nothing before it.
CREATE TABLE events (
    position BIGINT PRIMARY KEY,
    project_id TEXT NOT NULL REFERENCES projects (id),
    happened_us BIGINT NOT NULL,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    data TEXT NOT NULL
);
CREATE INDEX events_of_project ON events (project_id, position);
CREATE INDEX events_oldest ON events (happened_us);

-- The last position given. Its row is locked from the first event of a transaction to its end, so positions become
-- visible in their order also where several servers write.
CREATE TABLE event_positions (
    feed BIGINT PRIMARY KEY,
    last BIGINT NOT NULL
);
INSERT INTO event_positions (feed, last) VALUES (1, 0);

-- What a creating request made, so that the same request makes it once.
CREATE TABLE idempotency (
    project_id TEXT NOT NULL REFERENCES projects (id),
    principal TEXT NOT NULL,
    route TEXT NOT NULL,
    key TEXT NOT NULL,
    body_hash BYTEA NOT NULL,
    resource_id TEXT NOT NULL,
    created_us BIGINT NOT NULL,
    PRIMARY KEY (project_id, principal, route, key)
);
CREATE INDEX idempotency_oldest ON idempotency (created_us);

-- The stored log of an execution's output: pieces in order of position, without overlap. A piece holds its bytes, or they
-- are a blob of the same position, or it is the one gap.
CREATE TABLE output_chunks (
    execution_id TEXT NOT NULL,
    from_position BIGINT NOT NULL,
    to_position BIGINT NOT NULL,
    place TEXT NOT NULL,
    bytes BYTEA,
    PRIMARY KEY (execution_id, from_position)
);
