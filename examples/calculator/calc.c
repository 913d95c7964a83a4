/* A calculator's library: replace it while `midflight repl calc.c` is running. */

int add(int a, int b) { return a + b; }

int sub(int a, int b) { return a - b; }

int mul(int a, int b) { return a * b; }

double div(double a, double b) { return a / b; }

/* The mean of some numbers: `mean 1,2,6 3`. */
double mean(const double *numbers, long count) {
    double sum = 0;
    for (long i = 0; i < count; i++) sum += numbers[i];
    return sum / count;
}
