"""The contract language: documents, the node contract and the host contract. One room for the language."""
