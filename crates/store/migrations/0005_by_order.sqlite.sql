-- The audit is read and deleted from in the order of time, and by nothing else.
CREATE TABLE audit_by_time (
    id TEXT NOT NULL,
    at_us BIGINT NOT NULL,
    project_id TEXT,
    principal_id TEXT NOT NULL,
    token_id TEXT,
    action TEXT NOT NULL,
    resource TEXT NOT NULL,
    request_id TEXT NOT NULL,
    detail TEXT NOT NULL,
    PRIMARY KEY (at_us, id)
);
INSERT INTO audit_by_time (id, at_us, project_id, principal_id, token_id, action, resource, request_id, detail)
    SELECT id, at_us, project_id, principal_id, token_id, action, resource, request_id, detail FROM audit;
DROP TABLE audit;
ALTER TABLE audit_by_time RENAME TO audit;
CREATE INDEX audit_of_project ON audit (project_id, at_us, id);

-- A key of the type INTEGER is the place of the row itself, where any other is a tree beside it.
CREATE TABLE events_by_row (
    position INTEGER PRIMARY KEY,
    project_id TEXT NOT NULL REFERENCES projects (id),
    happened_us BIGINT NOT NULL,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    data TEXT NOT NULL
);
INSERT INTO events_by_row (position, project_id, happened_us, kind, subject, data)
    SELECT position, project_id, happened_us, kind, subject, data FROM events ORDER BY position;
DROP TABLE events;
ALTER TABLE events_by_row RENAME TO events;
CREATE INDEX events_of_project ON events (project_id, position);
