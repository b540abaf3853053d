-- Effects go with their thread. Those of before belong to nobody known until somebody asks for them again.
ALTER TABLE effects ADD COLUMN thread INTEGER;
-- A remembered answer may be forgotten from then on, on its thread's clock.
ALTER TABLE effects ADD COLUMN until INTEGER;
-- With the key: who does not find an effect by its key alone must not find it here either.
CREATE INDEX effects_thread ON effects (thread, key) WHERE thread IS NOT NULL;
CREATE INDEX effects_until ON effects (until) WHERE until IS NOT NULL;
