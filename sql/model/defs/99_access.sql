
-- Last, when every table and view stands: rights and row security as prm.access_grant says.
PERFORM prm._apply_access();
