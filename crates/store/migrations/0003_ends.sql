-- What ends by itself, by when it does.
CREATE INDEX sandboxes_expiry ON sandboxes (expires_us) WHERE expires_us IS NOT NULL;

-- The last position whose event was deleted for its age: who asks for what came after an earlier one is told so.
ALTER TABLE event_positions ADD COLUMN forgotten BIGINT NOT NULL DEFAULT 0;

-- Events are deleted in the order of their positions.
DROP INDEX events_oldest;
