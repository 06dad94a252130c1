-- What a device is called that a code lets in, where whoever made the code has said so.

ALTER TABLE code ADD COLUMN device_name TEXT;
