#include "commands.h"

int main(int argc, char **argv)
{
    return weir_client_main(argc, argv);
}
