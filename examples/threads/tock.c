/* The other version: says "tock", and knows the formula. */

typedef void (*say_function)(const char *word, long count);

long work(long count, say_function say) {
    say("tock", count);
    long sum = count * (count + 1) / 2;
    say("tock", sum);
    return sum;
}
