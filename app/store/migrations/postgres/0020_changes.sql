CREATE INDEX changes_of_resource ON @resource_changes (kind, id, seq);
CREATE INDEX changes_by ON @resource_changes (by, seq);
