-- A commit costs what it writes, and it writes a page of every tree that it touches: so there are no more than are asked.

-- By age is asked for what waits. What starts in the moment in which it is accepted is not in this index at all.
DROP INDEX executions_oldest;
CREATE INDEX executions_waiting ON executions (created_us, id) WHERE state IN ('queued', 'starting');
