/* A small library of which two versions are swapped; VERSION is its number. */
static int calls;

int
version(void)
{
    return VERSION;
}

int
add(int a, int b)
{
    calls++;
    return a + b;
}

int
count_calls(void)
{
    return calls;
}
