-- How the data of an event is compressed, as Content-Encoding says it. The data stays as it came.
ALTER TABLE events ADD COLUMN content_encoding TEXT;
