/* Says "tick" before and after it counts, to the host that gave it a function to say it with. */

typedef void (*say_function)(const char *word, long count);

long work(long count, say_function say) {
    say("tick", count);
    long sum = 0;
    for (long i = 1; i <= count; i++) sum += i;
    say("tick", sum);
    return sum;
}
