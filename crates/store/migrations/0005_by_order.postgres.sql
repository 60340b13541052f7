-- The audit is read and deleted from in the order of time, and by nothing else. In place: another server may be writing.
ALTER TABLE audit DROP CONSTRAINT audit_pkey, ADD PRIMARY KEY (at_us, id);
DROP INDEX audit_newest;
