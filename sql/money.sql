-- Rounding and sharing of money, as a user types it.

SELECT prm.round_money(60.325, 'USD'), prm.round_money(-60.325, 'USD'), prm.round_money(60.325, 'USD', 'half_even');
SELECT prm.round_money(0.5, 'JPY'), prm.round_money(1.0005, 'KWD'), prm.round_money(7, 'EUR');
SELECT prm.minor_units('JPY'), prm.minor_units('USD'), prm.minor_units('KWD'), prm.minor_units('CLF');
SELECT prm._round_digits(2.345, 1, 'half_up'), prm._round_digits(2.25, 1, 'half_even');
SELECT prm.round_money(NULL, 'USD') IS NULL AS "null";
SELECT prm.round_money(1, 'usd');
SELECT prm.round_money(1, 'XAU');
SELECT prm.round_money(1, 'USD', 'down');
SELECT prm.round_money('NaN', 'USD');
SELECT prm.round_money('-Infinity', 'USD');
SELECT prm._round_digits(1, 101, 'half_up');
SELECT prm._round_digits(1.5, 20, 'half_up'), prm.allocate(1, ARRAY[1, 2], 20);

SELECT prm.allocate(100.00, ARRAY[1, 1, 1]);
SELECT prm.allocate(-100.00, ARRAY[1, 1, 1]);
SELECT prm.allocate(10, ARRAY[0, 60, 40, 0], 0);
SELECT prm.allocate(0.05, ARRAY[1, 1, 1, 1, 1, 1]);
SELECT prm.allocate(1.005, ARRAY[1, 1]);
SELECT prm.allocate(1, ARRAY[0, 0]);
SELECT prm.allocate(1, ARRAY[]::numeric[]);
SELECT prm.allocate(1, ARRAY[1, -1]);
SELECT prm.allocate(1, ARRAY[1, NULL]);
SELECT prm.allocate(1, ARRAY[1, 'NaN'::numeric]);
SELECT prm.allocate('NaN', ARRAY[1]);
SELECT prm.allocate(1, ARRAY[[1, 1], [1, 1]]);
