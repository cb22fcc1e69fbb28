# The bank's file against a schema, by a validator that is not ours: xmllint (Debian: libxml2-utils).
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use PostgreSQL::Test::Utils;
use Test::More;
use PrmTest;

plan skip_all => 'xmllint is not here (Debian: libxml2-utils)' if system('xmllint --version >/dev/null 2>&1') != 0;

my $node = new_server('bank', $ENV{PRM_DEST});
$node->safe_psql('postgres', 'CREATE DATABASE bank');
sql($node, 'bank', 'CREATE EXTENSION prm; SELECT prm.install()');
my $xsd = "$FindBin::Bin/pain001.xsd";
my $file = $PostgreSQL::Test::Utils::tmp_check . '/pain001.xml';

# validate(TEXT): what xmllint says of it; empty where the file is sound.
sub validate
{
	my ($text) = @_;
	open my $out, '>:raw', $file or die $!;
	print $out $text;
	close $out;
	my $said = `xmllint --noout --nonet --schema '$xsd' '$file' 2>&1`;
	return $? == 0 ? '' : $said;
}

# The batch of the test in SQL, which bears all that a file must bear.
my $batch = slurp_file("$FindBin::Bin/../pgtap/settlement_export.psql");
sub file_with
{
	my ($options) = @_;
	my $text = sql($node, 'bank', "BEGIN;\n"
		  . "CREATE FUNCTION pg_temp.program(the_name text) RETURNS bigint LANGUAGE sql AS \$\$ SELECT set_config('prm.program_id', prm.create_program(the_name, 'blank', 'USD', 'UTC')::text, true)::bigint \$\$;\n"
		  . $batch . "\\o\nSELECT prm.payout_batch_xml(:batch, '$options');\nROLLBACK;\n");
	$text =~ s/\A.*?(?=<Document)//s;
	return $text;
}
for my $options ('{}', '{"charset": "utf8"}')
{
	my $text = file_with($options);
	like($text, qr/<Document xmlns="urn:iso:std:iso:20022:tech:xsd:pain\.001\.001\.09">/, "a file with the options $options");
	is(validate($text), '', 'is what the schema asks for');
	# The validator finds what is wrong.
	for my $wrong ([ '<PmtMtd>TRF</PmtMtd>', '' ], [ 'Ccy="EUR"', 'Ccy="EURO"' ], [ '<ChrgBr>SLEV</ChrgBr>', '<ChrgBr>ME</ChrgBr>' ], [ '<IBAN>DE89', '<IBAN>89' ], [ '<InitgPty><Nm>', '<InitgPty><Nm>' . 'x' x 140 ],
		[ '<BICFI>COBADEFFXXX', '<BICFI>COBADEFFX' ], [ '<Amt>', '<RmtInf/><Amt>' ])
	{
		my ($from, $to) = @$wrong;
		(my $bad = $text) =~ s/\Q$from\E/$to/ or fail("there is no $from");
		isnt(validate($bad), '', "a fault is found: $from");
	}
}

done_testing();
