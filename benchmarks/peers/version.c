/* A small library without data, of which two versions are swapped; VERSION is its number. */
int
version(void)
{
    return VERSION;
}

int
add(int a, int b)
{
    return a + b;
}
