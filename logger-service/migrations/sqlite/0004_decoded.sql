-- What compressed data holds, to be read and searched; or why it could not be decompressed. Events from before
-- have neither.
ALTER TABLE events ADD COLUMN decoded TEXT;
ALTER TABLE events ADD COLUMN undecoded TEXT;
