"""Numbers in a text by their value, however they are written: digits, words, numerals, times, amounts.

Read `numbers` (what a text's numbers may mean), then `quantities` (a number with its unit). `combined` joins numbers
of several words, `multiples` compares how often, how many times and which share, `proportions` reads their words
(doubled, half of the), `changes` their direction (halved, 20 % less), `clock` reads times of day, `number_words`,
`ordinals` and `numerals` read words and numerals.
"""
