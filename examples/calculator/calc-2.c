/* The next version of calc.c: sums stay within the limits of an int, nothing is divided by zero, and there is a power. */
#include <limits.h>

static int within_limits(long long value) {
    if (value > INT_MAX) return INT_MAX;
    if (value < INT_MIN) return INT_MIN;
    return (int)value;
}

int add(int a, int b) { return within_limits((long long)a + b); }

int sub(int a, int b) { return within_limits((long long)a - b); }

int mul(int a, int b) { return within_limits((long long)a * b); }

double div(double a, double b) { return b == 0 ? 0 : a / b; }

double mean(const double *numbers, long count) {
    double sum = 0;
    for (long i = 0; i < count; i++) sum += numbers[i];
    return count == 0 ? 0 : sum / count;
}

int power(int base, unsigned exponent) {
    long long result = 1;
    while (exponent-- > 0) result = within_limits(result * base);
    return (int)result;
}
