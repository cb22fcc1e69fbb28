
-- Segments: groups of partners by criteria.


