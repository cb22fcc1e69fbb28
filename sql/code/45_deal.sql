
-- Companies: when two spellings mean one. Pure functions, used by indexes of the model.

CREATE FUNCTION prm._plain_name(name text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $prm$
  SELECT coalesce(
    nullif(regexp_replace(regexp_replace(lower(btrim(_plain_name.name)),
      '([\s.,]+(inc|incorporated|corp|corporation|co|company|ltd|limited|llc|llp|plc|gmbh|ag|kg|ohg|sa|sas|sarl|srl|spa|bv|nv|ab|as|oy|aps|pty|ltda|eireli|kk))+[\s.,]*$', ''),
      '[^[:alnum:]]+', '', 'g'), ''),
    nullif(lower(btrim(_plain_name.name)), ''))
$prm$;
COMMENT ON FUNCTION prm._plain_name(text) IS
'A name without case, blanks, punctuation and legal form at its end ("Acme Corp." and "ACME, Inc." are both "acme"), for comparing. NULL for a blank one.';

CREATE FUNCTION prm._company_domain(domain text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $prm$
  SELECT CASE WHEN d.word NOT IN ('', 'gmail.com', 'googlemail.com', 'outlook.com', 'hotmail.com', 'live.com', 'msn.com', 'yahoo.com',
      'ymail.com', 'icloud.com', 'me.com', 'aol.com', 'gmx.de', 'gmx.net', 'gmx.com', 'web.de', 't-online.de', 'mail.ru', 'yandex.ru', 'qq.com',
      '163.com', 'proton.me', 'protonmail.com', 'uol.com.br', 'bol.com.br', 'terra.com.br', 'orange.fr', 'free.fr', 'libero.it') THEN d.word END
  FROM (SELECT lower(btrim(_company_domain.domain)) AS word) d
$prm$;
COMMENT ON FUNCTION prm._company_domain(text) IS
'The domain in lower case, or NULL where it is blank or a public mail provider''s, which says nothing about the company.';
