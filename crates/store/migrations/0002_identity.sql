-- Who may do what, who did what, and what is kept encrypted.

-- Whoever acts. An administrator is owner in every project.
CREATE TABLE principals (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    admin BOOLEAN NOT NULL,
    created_us BIGINT NOT NULL
);

CREATE TABLE members (
    project_id TEXT NOT NULL REFERENCES projects (id),
    principal_id TEXT NOT NULL REFERENCES principals (id),
    role TEXT NOT NULL,
    PRIMARY KEY (project_id, principal_id)
);
CREATE INDEX members_of_principal ON members (principal_id, project_id);

CREATE TABLE tokens (
    id TEXT PRIMARY KEY,
    -- The one project that it is good for; none: all that its principal has.
    project_id TEXT REFERENCES projects (id),
    principal_id TEXT NOT NULL REFERENCES principals (id),
    name TEXT NOT NULL,
    -- SHA-256 of its text, which is written down nowhere.
    hash BYTEA NOT NULL UNIQUE,
    format TEXT NOT NULL,
    -- What it leaves of its principal's role, and for what.
    role TEXT NOT NULL,
    scopes TEXT NOT NULL,
    created_us BIGINT NOT NULL,
    expires_us BIGINT,
    used_us BIGINT,
    revoked_us BIGINT
);
CREATE INDEX tokens_newest ON tokens (project_id, created_us, id);
CREATE INDEX tokens_expired ON tokens (expires_us) WHERE expires_us IS NOT NULL;
CREATE INDEX tokens_revoked ON tokens (revoked_us) WHERE revoked_us IS NOT NULL;

-- Only appended to, and deleted from when old. It refers to what may be gone by then.
CREATE TABLE audit (
    id TEXT PRIMARY KEY,
    at_us BIGINT NOT NULL,
    -- None where the whole server was concerned.
    project_id TEXT,
    principal_id TEXT NOT NULL,
    token_id TEXT,
    action TEXT NOT NULL,
    resource TEXT NOT NULL,
    request_id TEXT NOT NULL,
    detail TEXT NOT NULL
);
CREATE INDEX audit_newest ON audit (at_us, id);
CREATE INDEX audit_of_project ON audit (project_id, at_us, id);

-- Of the installation: which master key, which first key.
CREATE TABLE settings (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL,
    set_us BIGINT NOT NULL
);

-- Each value under a key of its own, which is wrapped under one of the project, which comes from the master key `key_id`.
CREATE TABLE secrets (
    id TEXT PRIMARY KEY,
    project_id TEXT NOT NULL REFERENCES projects (id),
    name TEXT NOT NULL,
    version BIGINT NOT NULL,
    key_id BYTEA NOT NULL,
    wrapped_key BYTEA NOT NULL,
    nonce BYTEA NOT NULL,
    ciphertext BYTEA NOT NULL,
    created_us BIGINT NOT NULL,
    updated_us BIGINT NOT NULL
);
CREATE UNIQUE INDEX secrets_name ON secrets (project_id, name);
